// The only door from the directory (statesync) to the kernel's map of owners (datapath). One writer: the directory,
// on the control thread.
#pragma once

#include <suture/datapath_abi.h>
#include <suture/ids.hpp>

namespace suture {

class OwnerMap {
 public:
  virtual ~OwnerMap() = default;
  // False: the map is full. The directory keeps the record, counts, and strays of this flow are asked about instead.
  virtual bool set(const suture_flow_key& key, NodeId owner, Incarnation incarnation) = 0;
  virtual void erase(const suture_flow_key& key) = 0;
};

}  // namespace suture
