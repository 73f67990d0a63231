#include "proxy/healing/stray_policy.hpp"

#include <set>

#include <gtest/gtest.h>

namespace suture::healing {
namespace {

TEST(StrayPolicy, Table) {
  struct Row {
    StrayFacts facts;
    StrayVerdict verdict;
  };
  const Row rows[] = {
      {{true, false, KnownOwner::none, Question::none}, StrayVerdict::drop_rst},
      {{true, false, KnownOwner::living, Question::answered}, StrayVerdict::drop_rst},
      {{true, false, KnownOwner::dead, Question::open}, StrayVerdict::claim},  // it may end the record
      {{false, false, KnownOwner::living, Question::none}, StrayVerdict::forward_record},
      {{false, false, KnownOwner::living, Question::open}, StrayVerdict::forward_record},
      {{false, false, KnownOwner::living, Question::answered}, StrayVerdict::forward_record},
      {{false, false, KnownOwner::dead, Question::none}, StrayVerdict::claim},
      {{false, false, KnownOwner::dead, Question::open}, StrayVerdict::claim},
      {{false, false, KnownOwner::dead, Question::answered}, StrayVerdict::claim},
      {{false, false, KnownOwner::none, Question::none}, StrayVerdict::ask},
      {{false, false, KnownOwner::none, Question::open}, StrayVerdict::hold},
      {{false, false, KnownOwner::none, Question::answered}, StrayVerdict::forward_answer},
      {{false, false, KnownOwner::own, Question::none}, StrayVerdict::deliver},
      {{true, false, KnownOwner::own, Question::open}, StrayVerdict::deliver},
      {{false, true, KnownOwner::own, Question::none}, StrayVerdict::claim},
      {{false, true, KnownOwner::none, Question::none}, StrayVerdict::claim},
      {{false, true, KnownOwner::living, Question::open}, StrayVerdict::claim},
      {{true, true, KnownOwner::dead, Question::none}, StrayVerdict::claim},  // it may end the record
  };
  for (const auto& row : rows) EXPECT_EQ(to_label(judge_stray(row.facts)), to_label(row.verdict));
}

TEST(StrayPolicy, AnRstNeedsEveryPeerThatCouldHaveTheFlow) {
  EXPECT_EQ(judge_unanswered({KnownOwner::none, true}), StrayVerdict::reset);
  EXPECT_EQ(judge_unanswered({KnownOwner::none, false}), StrayVerdict::drop_unproven);
  EXPECT_EQ(judge_unanswered({KnownOwner::none, false, true}), StrayVerdict::reset_unrecorded);
  EXPECT_EQ(judge_unanswered({KnownOwner::dead, false, true}), StrayVerdict::claim);
  EXPECT_EQ(judge_unanswered({KnownOwner::living, true}), StrayVerdict::forward_record);
  EXPECT_EQ(judge_unanswered({KnownOwner::dead, true}), StrayVerdict::claim);
}

TEST(StrayPolicy, EveryVerdictHasALabelOfItsOwn) {
  std::set<std::string_view> labels;
  for (int i = 0; i < static_cast<int>(StrayVerdict::count); ++i) labels.insert(to_label(static_cast<StrayVerdict>(i)));
  EXPECT_EQ(labels.size(), static_cast<std::size_t>(StrayVerdict::count));
  EXPECT_FALSE(labels.contains("invalid"));
}

}  // namespace
}  // namespace suture::healing
