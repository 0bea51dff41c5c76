"""Stopping, by the full rule: what was seen is kept, the first stop wins, and a late one still cuts."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from chat.errors import Conflict
from chat.fold import Fold
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.models import Run
from chat.protocol import reasoning, text, usage
from tests.unit.chats import Chat
from tests.unit.concurrency import together


def running(chat: Chat, answers: int = 1) -> tuple[Claim, list[UUID]]:
    claim = chat.claim(chat.send().run)
    return claim, [chat.begin(claim, n) for n in range(answers)]


def rows(chat: Chat, *answers: UUID) -> list[tuple[str, str]]:
    return [(chat.message(pk).text, chat.message(pk).status) for pk in answers]


# --------------------------------------------------------------------------------------------------- of a running run


def test_a_stop_of_a_running_run_is_recorded_and_announced_to_its_worker(chat: Chat) -> None:
    claim, [answer] = running(chat)
    outcome = chat.stop(claim.run, seen={answer: 2})
    assert chat.run(claim.run).stop == {"seen": {str(answer): 2}}
    assert outcome.announcement is not None
    assert outcome.announcement.stop == claim.run
    assert chat.run(claim.run).state == "running"


def test_each_message_is_cut_to_what_was_seen_of_it(chat: Chat) -> None:
    claim, [one, two] = running(chat, 2)
    chat.stop(claim.run, seen={one: 3, two: 1})
    chat.finish(claim, {one: "abcdef", two: "uvwxyz"})
    assert rows(chat, one, two) == [("abc", "cut"), ("u", "cut")]
    assert (chat.run(claim.run).state, chat.run(claim.run).error) == ("stopped", None)


def test_seen_beyond_the_text_means_all_of_it(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 1_000_000})
    chat.finish(claim, {answer: "abcdef"})
    assert rows(chat, answer) == [("abcdef", "complete")]
    assert chat.run(claim.run).state == "stopped"


def test_a_message_that_is_not_named_is_cut_to_nothing(chat: Chat) -> None:
    claim, [one, two] = running(chat, 2)
    chat.stop(claim.run, seen={one: 6})
    chat.finish(claim, {one: "abcdef", two: "uvwxyz"})
    assert rows(chat, one, two) == [("abcdef", "complete"), ("", "cut")]


def test_with_nothing_seen_nothing_is_left(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={})
    chat.finish(claim, {answer: "abcdef"})
    assert rows(chat, answer) == [("", "cut")]


def test_without_seen_nothing_is_cut(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run)
    chat.finish(claim, {answer: "abcdef"})
    assert rows(chat, answer) == [("abcdef", "complete")]
    assert chat.run(claim.run).state == "stopped"


def test_an_answer_that_was_not_ended_is_cut_though_nothing_of_it_goes(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run)
    fold = Fold(claim.first)
    fold.add([text(str(answer), "half of")], claim.first + 1)
    ledger.finish(claim.run, claim.lease, fold, Run.State.STOPPED)
    assert rows(chat, answer) == [("half of", "cut")]


def test_reasoning_stays(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 1})
    fold = Fold(claim.first)
    fold.add([reasoning(str(answer), "I think."), text(str(answer), "abcdef")], claim.first + 2)
    ledger.finish(claim.run, claim.lease, fold, Run.State.STOPPED)
    assert (chat.message(answer).reasoning, chat.message(answer).text) == ("I think.", "a")


def test_characters_are_code_points(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 3})
    chat.finish(claim, {answer: "😀é漢字"})
    assert rows(chat, answer) == [("😀é漢", "cut")]


def test_the_first_stop_wins(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 2})
    for later in ({"seen": {answer: 5}}, {}, {"seen": {}}):
        assert chat.stop(claim.run, **later).announcement is None
    chat.finish(claim, {answer: "abcdef"})
    assert rows(chat, answer) == [("ab", "cut")]


def test_a_stop_without_seen_is_a_stop_too_and_the_first_wins(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run)
    chat.stop(claim.run, seen={answer: 2})
    chat.finish(claim, {answer: "abcdef"})
    chat.stop(claim.run, seen={answer: 1})
    assert rows(chat, answer) == [("abcdef", "complete")]


def test_of_two_stops_at_the_same_moment_one_wins_whole(either_database: str) -> None:
    chat = Chat()
    claim, [answer] = running(chat)
    together(lambda: chat.stop(claim.run, seen={answer: 2}), lambda: chat.stop(claim.run, seen={answer: 4}))
    stop = chat.run(claim.run).stop
    assert stop in [{"seen": {str(answer): 2}}, {"seen": {str(answer): 4}}]
    chat.finish(claim, {answer: "abcdef"})
    assert len(chat.message(answer).text) == stop["seen"][str(answer)]


def test_a_stop_wins_over_what_the_run_ended_with(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 2})
    chat.finish(claim, {answer: "abcdef"}, Run.State.FAILED, error_code="internal", retry_after=3.0)
    run = chat.run(claim.run)
    assert (run.state, run.error, run.retry_after) == ("stopped", None, None)


def test_a_stop_and_the_final_commit_at_the_same_moment_leave_what_was_seen(either_database: str) -> None:
    for _ in range(5):
        chat = Chat()
        claim, [answer] = running(chat)
        fold = Fold(claim.first)
        fold.add([text(str(answer), "abcdef"), usage(str(answer), input=1, output=2)], claim.first + 2)
        results = together(
            lambda chat=chat, run=claim.run, answer=answer: chat.stop(run, seen={answer: 2}),
            lambda claim=claim, fold=fold: ledger.finish(claim.run, claim.lease, fold, Run.State.COMPLETED),
        )
        assert not [result for result in results if isinstance(result, Exception) or result is None]
        assert rows(chat, answer) == [("ab", "cut")]
        assert chat.run(claim.run).state == "stopped"


def test_the_prompt_after_a_stop_holds_what_was_seen_and_no_more(chat: Chat) -> None:
    claim, [answer] = running(chat)
    chat.stop(claim.run, seen={answer: 2})
    chat.finish(claim, {answer: "abcdef"})
    turns = chat.claim(chat.send("go on").run).conversation.turns
    assert [turn.text for turn in turns] == ["hello", "ab", "go on"]


def test_the_queue_goes_on_after_a_stop(chat: Chat) -> None:
    claim, [answer] = running(chat)
    waiting = chat.send("next")
    chat.stop(claim.run, seen={answer: 2})
    assert ledger.claimable(10) == []
    chat.finish(claim, {answer: "abcdef"})
    assert ledger.claimable(10) == [waiting.run]
    chat.claim(waiting.run)
    assert chat.texts() == ["hello", "ab", "next"]


def test_stopping_what_another_run_of_the_user_says_leaves_this_one_alone(chat: Chat) -> None:
    other = Chat(chat.owner)
    claims = [running(chat)[0], running(other)[0]]
    chat.stop(claims[0].run, seen={})
    assert other.run(claims[1].run).stop is None


# ---------------------------------------------------------------------------------------------- of a run that has ended


@pytest.mark.parametrize("state", [Run.State.COMPLETED, Run.State.INTERRUPTED, Run.State.FAILED])
def test_a_late_stop_cuts_all_the_same(chat: Chat, state: str) -> None:
    claim, [answer] = running(chat)
    chat.finish(claim, {answer: "abcdef"}, state, error_code="" if state == "completed" else "internal")
    version = chat.thread.version
    outcome = chat.stop(claim.run, seen={answer: 2})
    assert rows(chat, answer) == [("ab", "cut")]
    assert (chat.run(claim.run).state, chat.run(claim.run).error) == ("stopped", None)
    assert outcome.result["version"] == version + 1 == chat.run(claim.run).version == chat.message(answer).version


def test_a_late_stop_cuts_every_message_of_the_run_by_the_same_rule(chat: Chat) -> None:
    claim, [one, two, three] = running(chat, 3)
    chat.finish(claim, {one: "abcdef", two: "uvwxyz", three: "klmnop"})
    chat.stop(claim.run, seen={one: 99, two: 4})
    assert rows(chat, one, two, three) == [("abcdef", "complete"), ("uvwx", "cut"), ("", "cut")]


def test_a_late_stop_that_saw_all_stops_the_run_and_cuts_nothing(chat: Chat) -> None:
    turn = chat.turn(words="abcdef")
    chat.stop(turn.run, seen={turn.answer: 6})
    assert rows(chat, turn.answer) == [("abcdef", "complete")]
    assert chat.run(turn.run).state == "stopped"


def test_a_late_stop_without_seen_changes_nothing(chat: Chat) -> None:
    turn = chat.turn()
    before = chat.thread.version
    assert chat.stop(turn.run).result == {"version": before}
    assert (chat.run(turn.run).state, chat.thread.version) == ("completed", before)


def test_of_two_late_stops_the_first_wins(chat: Chat) -> None:
    turn = chat.turn(words="abcdef")
    chat.stop(turn.run, seen={turn.answer: 4})
    chat.stop(turn.run, seen={turn.answer: 2})
    assert rows(chat, turn.answer) == [("abcd", "cut")]


def test_a_late_stop_is_a_conflict_when_a_claimed_run_had_the_answer_in_its_prompt(chat: Chat) -> None:
    turn = chat.turn(words="abcdef")
    chat.claim(chat.send().run)
    with pytest.raises(Conflict) as caught:
        chat.stop(turn.run, seen={turn.answer: 2})
    assert caught.value.as_dict()["code"] == "conflict"
    assert rows(chat, turn.answer) == [("abcdef", "complete")]
    assert chat.run(turn.run).state == "completed"


def test_a_late_stop_is_no_conflict_while_the_next_question_only_waits(chat: Chat) -> None:
    turn = chat.turn(words="abcdef")
    asked = chat.send("next")
    chat.stop(turn.run, seen={turn.answer: 2})
    assert [turn.text for turn in chat.claim(asked.run).conversation.turns] == ["hello", "ab", "next"]


def test_a_late_stop_of_an_earlier_run_is_a_conflict_as_all_later_ones_had_it_in_their_prompt(chat: Chat) -> None:
    first = chat.turn()
    chat.turn(), chat.turn()
    with pytest.raises(Conflict):
        chat.stop(first.run, seen={})


def test_a_late_stop_of_an_answer_that_was_generated_again_is_no_conflict(chat: Chat) -> None:
    turn = chat.turn(words="abcdef")
    chat.answered(chat.regenerate(turn.answer))
    chat.stop(turn.run, seen={turn.answer: 2})
    assert rows(chat, turn.answer) == [("ab", "cut")]


def test_a_run_that_failed_without_a_word_has_nothing_to_cut_and_nothing_to_conflict(chat: Chat) -> None:
    asked = chat.send()
    chat.finish(chat.claim(asked.run), {}, Run.State.FAILED, error_code="provider_refused")
    chat.stop(asked.run, seen={})
    assert chat.run(asked.run).state == "stopped"


def test_a_late_stop_and_the_next_claim_at_the_same_moment_agree_on_what_was_said(either_database: str) -> None:
    for _ in range(5):
        chat = Chat()
        turn = chat.turn(words="abcdef")
        asked = chat.send("next")
        stopped, claim = together(
            lambda chat=chat, turn=turn: chat.stop(turn.run, seen={turn.answer: 2}),
            lambda asked=asked: ledger.claim(asked.run, "worker"),
        )
        claim = claim or ledger.claim(asked.run, "worker")  # that passed by the thread, which the stop had locked
        prompted = claim.conversation.turns[1].text
        assert prompted == chat.message(turn.answer).text == ("abcdef" if isinstance(stopped, Conflict) else "ab")


# ------------------------------------------------------------------------------------------------------ of a queued run


def test_a_stop_of_a_run_that_waits_to_start_again_leaves_no_message_streaming(chat: Chat) -> None:
    claim, [answer] = running(chat)
    assert ledger.requeue(claim.run, claim.lease) is not None
    outcome = chat.stop(claim.run)
    assert chat.run(claim.run).state == "stopped"
    assert (chat.message(answer).status, chat.message(answer).version) == ("cut", outcome.result["version"])
    assert chat.path() == [chat.run(claim.run).prompt_id, answer]


def test_a_stop_of_a_queued_regenerate_leaves_the_question_where_it_is(chat: Chat) -> None:
    turn = chat.turn()
    run = chat.regenerate(turn.answer)
    chat.stop(run)
    assert chat.run(run).state == "stopped"
    assert chat.message(turn.message).status == "complete"
    assert chat.path() == [turn.message, turn.answer]


def test_a_queued_run_that_was_stopped_is_not_claimed(chat: Chat) -> None:
    asked = chat.send()
    chat.stop(asked.run)
    assert ledger.claimable(10) == []
    assert ledger.claim(asked.run, "worker") is None


def test_a_second_stop_of_a_queued_run_is_ok_and_without_effect(chat: Chat) -> None:
    asked = chat.send()
    version = chat.stop(asked.run).result["version"]
    assert chat.stop(asked.run, seen={uuid4(): 3}).result == {"version": version}
