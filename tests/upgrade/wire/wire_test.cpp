// Two builds on one wire: NAME-previous/*.bin is what the previous one wrote (make), its statesync.proto lies beside
// it.
#include <filesystem>
#include <fstream>
#include <sstream>

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <proto/statesync.pb.h>
#include <statesync/codec.hpp>
#include <tests/unit/statesync/codec_support.hpp>

#include "messages.hpp"

namespace suture::statesync::test {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return (std::ostringstream() << in.rdbuf()).str();
}

const std::filesystem::path kFixtures = PREVIOUS_FIXTURES;

// ---- the previous build's bytes, read by today's codec

void compare(const Change& a, const Change& b) {
  ASSERT_EQ(a.index(), b.index());
  if (const auto* record = std::get_if<SessionRecord>(&a)) {
    expect_same(*record, std::get<SessionRecord>(b));
  } else {
    EXPECT_EQ(std::get<Erase>(a).key, std::get<Erase>(b).key);
  }
}

void compare(const Hello& a, const Hello& b) {
  const auto all = [](const Hello& h) {
    return std::tuple(h.version_min, h.version_max, h.node, h.name, h.incarnation, h.liveness_key, h.liveness_endpoint,
                      h.capabilities);
  };
  EXPECT_EQ(all(a), all(b));
}

void compare(const HelloAck& a, const HelloAck& b) {
  const auto all = [](const HelloAck& h) {
    return std::tuple(h.version, h.node, h.name, h.incarnation, h.liveness_key, h.resume_from, h.capabilities);
  };
  EXPECT_EQ(all(a), all(b));
}

void compare(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.seq, b.seq);
  ASSERT_EQ(a.changes.size(), b.changes.size());
  for (std::size_t i = 0; i < a.changes.size(); ++i) {
    SCOPED_TRACE(i);
    compare(a.changes[i], b.changes[i]);
  }
}

void compare(const SnapshotBegin&, const SnapshotBegin&) {}
void compare(const SnapshotEnd&, const SnapshotEnd&) {}
void compare(const Heartbeat& a, const Heartbeat& b) {
  EXPECT_EQ(a.last_seq, b.last_seq);
}
void compare(const Ack& a, const Ack& b) {
  EXPECT_EQ(a.seq, b.seq);
}
void compare(const Refused& a, const Refused& b) {
  EXPECT_EQ(std::tuple(a.reason, a.text), std::tuple(b.reason, b.text));
}

// A field that no version of ours has, in the message and in every message within it.
void add_unknown(Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) add_unknown(*reflection.MutableMessage(&message, field));
    for (int i = 0; field->is_repeated() && i < reflection.FieldSize(message, field); ++i)
      add_unknown(*reflection.MutableRepeatedMessage(&message, field, i));
  }
  reflection.MutableUnknownFields(&message)->AddLengthDelimited(4711, "of a later version");
}

template <class Proto, class Variant>
void expect_decodes_to(const Proto& proto, const Variant& wanted) {
  const auto decoded = decode(proto);
  ASSERT_TRUE(decoded) << decoded.error().message;
  ASSERT_EQ(decoded->index(), wanted.index());
  std::visit([&](const auto& one) { compare(one, std::get<std::decay_t<decltype(one)>>(*decoded)); }, wanted);
}

template <class Proto, class Named>
void expect_read(const std::string& prefix, const Named& messages) {
  for (const auto& [name, wanted] : messages) {
    SCOPED_TRACE(prefix + name);
    Proto proto;
    ASSERT_TRUE(proto.ParseFromString(read(kFixtures / (prefix + name + ".bin"))));
    EXPECT_EQ(proto.Utf8DebugString(), read(kFixtures / (prefix + name + ".txt")))
        << "a field has changed its name or its type";
    expect_decodes_to(proto, wanted);
    add_unknown(proto);
    expect_decodes_to(proto, wanted);
  }
}

TEST(UpgradeWire, what_the_previous_build_wrote_is_read_field_by_field) {
  expect_read<v1::ToReceiver>("to_receiver.", upgrade::to_receiver());
  expect_read<v1::ToSender>("to_sender.", upgrade::to_sender());
}

TEST(UpgradeWire, every_fixture_is_compared) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) files += entry.path().extension() == ".bin";
  EXPECT_EQ(files, upgrade::to_receiver().size() + upgrade::to_sender().size() + upgrade::datagrams().size());
}

// ---- today's bytes, read by the previous .proto

// That file as the previous build's protobuf knows it, beside today's generated classes.
class Previous {
 public:
  Previous() {
    google::protobuf::FileDescriptorSet set;
    if (set.ParseFromString(read(PREVIOUS_DESCRIPTORS)) && set.file_size() == 1) file_ = pool_.BuildFile(set.file(0));
    if (!file_) throw std::runtime_error("the previous statesync.proto cannot be read");
  }
  const google::protobuf::FileDescriptor& file() const { return *file_; }
  std::unique_ptr<Message> make(const std::string& name) {
    const Descriptor* type = pool_.FindMessageTypeByName(name);
    return std::unique_ptr<Message>(type ? factory_.GetPrototype(type)->New() : nullptr);
  }

 private:
  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_;
  const google::protobuf::FileDescriptor* file_ = nullptr;
};

// What the previous version knows keeps its name, number, type and place; more may have come.
void expect_kept(const Descriptor& was, const Descriptor* is) {
  ASSERT_TRUE(is) << was.full_name();
  for (int i = 0; i < was.field_count(); ++i) {
    const FieldDescriptor& field = *was.field(i);
    const FieldDescriptor* now = is->FindFieldByNumber(field.number());
    if (!now) {  // taken away: its number must never be used again
      EXPECT_TRUE(is->IsReservedNumber(field.number())) << field.full_name();
      continue;
    }
    EXPECT_EQ(field.name(), now->name());
    EXPECT_EQ(field.type(), now->type()) << field.full_name();
    EXPECT_EQ(field.label(), now->label()) << field.full_name();
    EXPECT_EQ(field.has_presence(), now->has_presence()) << field.full_name();
  }
}

TEST(UpgradeWire, no_field_of_the_previous_version_has_changed) {
  const Previous previous;
  const auto* today = v1::ToReceiver::descriptor()->file();
  for (int i = 0; i < previous.file().message_type_count(); ++i) {
    const Descriptor& was = *previous.file().message_type(i);
    expect_kept(was, today->FindMessageTypeByName(was.name()));
  }
  for (int i = 0; i < previous.file().service_count(); ++i) {
    const auto& was = *previous.file().service(i);
    const auto* is = today->FindServiceByName(was.name());
    ASSERT_TRUE(is) << was.full_name();
    for (int n = 0; n < was.method_count(); ++n)
      EXPECT_TRUE(is->FindMethodByName(was.method(n)->name())) << was.method(n)->full_name();
  }
}

// Everything that today's build writes, but for the fields that the previous one does not know: they are ignored there.
std::string as_the_previous_sees_it(const Message& today, const Descriptor& was) {
  std::unique_ptr<Message> copy(today.New());
  copy->CopyFrom(today);
  const std::function<void(Message&, const Descriptor&)> leave = [&](Message& message, const Descriptor& known) {
    const auto& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const auto* field : fields) {
      const FieldDescriptor* there = known.FindFieldByNumber(field->number());
      if (!there) {
        reflection.ClearField(&message, field);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        if (!field->is_repeated()) leave(*reflection.MutableMessage(&message, field), *there->message_type());
        for (int i = 0; field->is_repeated() && i < reflection.FieldSize(message, field); ++i)
          leave(*reflection.MutableRepeatedMessage(&message, field, i), *there->message_type());
      }
    }
  };
  leave(*copy, was);
  return copy->Utf8DebugString();
}

void expect_read_by_the_previous(Previous& previous, Message& today) {
  const auto there = previous.make(today.GetDescriptor()->full_name());
  ASSERT_TRUE(there);
  const std::string wanted = as_the_previous_sees_it(today, *there->GetDescriptor());
  add_unknown(today);  // as of a version after today's
  ASSERT_TRUE(there->ParseFromString(today.SerializeAsString()));
  there->DiscardUnknownFields();
  EXPECT_EQ(there->Utf8DebugString(), wanted);
}

TEST(UpgradeWire, what_this_build_writes_is_read_by_the_previous_one) {
  Previous previous;
  for (const auto& [name, message] : upgrade::to_receiver()) {
    SCOPED_TRACE(name);
    v1::ToReceiver proto;
    encode(message, proto);
    expect_read_by_the_previous(previous, proto);
  }
  for (const auto& [name, message] : upgrade::to_sender()) {
    SCOPED_TRACE(name);
    v1::ToSender proto;
    encode(message, proto);
    expect_read_by_the_previous(previous, proto);
  }
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    v1::ToReceiver proto;
    encode(ToReceiver(Batch{1, {random_record(random), Erase{key(2)}}}), proto);
    ASSERT_NO_FATAL_FAILURE(expect_read_by_the_previous(previous, proto));
  }
}

// Datagrams have no fields that one could leave out: the same values are the same bytes, tag included, or the version
// is another one and neither build hears the other.
TEST(UpgradeWire, liveness_datagrams_are_the_same_bytes) {
  const auto key = upgrade::pair_key();
  for (const auto& [name, wanted] : upgrade::datagrams()) {
    SCOPED_TRACE(name);
    const std::string text = read(kFixtures / ("liveness." + name + ".bin"));
    const std::vector<std::uint8_t> bytes(text.begin(), text.end());
    Datagram got;
    ASSERT_EQ(parse(bytes, got), ParseError::none);
    EXPECT_TRUE(authentic(bytes, key));
    const auto all = [](const Datagram& d) {
      return std::tuple(d.type, d.sender, d.receiver, d.incarnation, d.seq, d.echo, d.slot_ms, d.monotonic_ms, d.flags,
                        d.delivered_ms, d.hears.to_string(), d.key);
    };
    EXPECT_EQ(all(got), all(wanted));
    const auto today = encode(wanted, key);
    EXPECT_EQ(bytes, std::vector<std::uint8_t>(today.begin(), today.end()));
  }
}

// The versions that a Hello offers overlap with those of the previous build's, or no stream would come about.
TEST(UpgradeWire, the_two_builds_have_a_protocol_version_in_common) {
  v1::ToReceiver proto;
  ASSERT_TRUE(proto.ParseFromString(read(kFixtures / "to_receiver.hello.bin")));
  const auto was = std::get<Hello>(*decode(proto));
  EXPECT_LE(kVersionMin, was.version_max);
  EXPECT_LE(was.version_min, kVersionMax);
}

}  // namespace
}  // namespace suture::statesync::test
