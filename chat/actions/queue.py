"""The queue of a thread: the order in which turns wait, and what each will come after.

A message that waits is no part of the tree yet. It knows what it was written ``after``: a message that has its place,
or one before it in the queue. With its run's claim it is put at the end of what is there by then, or, if it begins a
``branch``, at exactly that place. A run that waits at a message which has its place is another answer to it, or goes on
with one.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from chat import conf
from chat.errors import Conflict, RateLimited
from chat.models import Inbox, Message, Run, Thread
from chat.protocol import MAX_VERSIONS


def waiting(thread: Thread) -> list[Run]:
    """The runs that wait, first to be claimed first, with their prompts."""
    return list(Run.objects.filter(thread=thread, state=Run.State.QUEUED).select_related("prompt").order_by("place"))


def end(thread: Thread, runs: list[Run]) -> UUID | None:
    """What a message comes after that goes on where the reader is: the path's end, as it will be when these runs have
    been claimed. What waits on another path than the one that is shown is passed by."""
    at = thread.head_id
    for run in runs:
        asked = run.prompt
        if asked.status == Message.Status.QUEUED:
            if asked.branch or asked.place() == (at and Message.objects.tip(at)):
                at = asked.pk
        elif run.takes_the_head:
            at = asked.pk
    return at


def allow_version(thread: Thread, parent: UUID | None) -> None:
    """Raises Conflict where as many messages have this parent, or wait to get it, as may."""
    messages = Message.objects.filter(thread=thread)
    placed = messages.placed().filter(parent=parent).count()
    queued = messages.filter(status=Message.Status.QUEUED, after=parent, branch=True).count()
    answers = 0 if parent is None else Run.objects.filter(prompt=parent, state=Run.State.QUEUED, continues=None).count()
    if placed + queued + answers >= MAX_VERSIONS:
        raise Conflict("There are as many versions here as there may be.", detail={"limit": MAX_VERSIONS})


def put(thread: Thread, run: Run, *, place: int | None = None) -> None:
    """Queue a run: last, or at a place of its own. ``run.prompt`` is saved, the thread is saved by the caller.

    Raises RateLimited when its user has too many waiting; so what is taken back in its favour goes before."""
    Inbox.objects.lock(thread.owner_id)
    if Run.objects.filter(thread__owner=thread.owner_id, state=Run.State.QUEUED).count() >= conf.MAX_QUEUED:
        raise RateLimited("Too many of your messages are waiting. Let some be answered first.", retry_after=10)
    run.thread = thread
    run.version = thread.version
    run.place = thread.version if place is None else place
    run.model = run.model or thread.model
    run.save(force_insert=True)
    if place is not None:
        Run.objects.queue_moved(thread)


def put_message(thread: Thread, message: Message, run: Run, *, place: int | None = None) -> None:
    """Queue a user's message with the run that answers it."""
    message.thread = thread
    message.role = Message.Role.USER
    message.status = Message.Status.QUEUED
    message.version = thread.version
    message.save(force_insert=True)
    run.prompt = message
    put(thread, run, place=place)
    message.run = run
    message.save(update_fields=["run", "updated_at"])


def put_ahead(thread: Thread, message: Message, run: Run, runs: list[Run]) -> None:
    """Queue a message before these, which are the last that wait. What would have come where it comes, comes after
    it."""
    if not runs:
        put_message(thread, message, run)
        return
    next_run = runs[0]
    Run.objects.filter(pk__in=[waits.pk for waits in runs]).update(place=F("place") + 1)
    put_message(thread, message, run, place=next_run.place)
    follower = next_run.prompt
    if message.branch or follower.status != Message.Status.QUEUED or follower.branch:
        return
    if follower.place() == message.place():
        follower.after, follower.version = message, thread.version
        follower.save(update_fields=["after", "version", "updated_at"])


def branches(runs: list[Run]) -> int:
    """How many of those that wait come before a message that interrupts: all up to the last one that begins a branch.
    That one takes the reader along, and what came before it would be hidden on the path that it leaves."""
    begins = [run.prompt.status == Message.Status.QUEUED and run.prompt.branch for run in runs]
    return len(runs) - begins[::-1].index(True) if True in begins else 0


def replace(thread: Thread, run: Run, message: Message, by: Run) -> None:
    """Another message takes the place of one that waits, which is taken back."""
    message.after_id, message.branch = run.prompt.after_id, run.prompt.branch
    behind = list(Message.objects.filter(after=run.prompt_id).values_list("pk", flat=True))
    take_back(thread, run)
    put_message(thread, message, by, place=run.place)
    Message.objects.filter(pk__in=behind).update(after=message, branch=False, version=thread.version, updated_at=Now())


def take_back(thread: Thread, run: Run) -> None:
    """A run that waits is stopped; its message, if it has no place yet, is unqueued, and what was written after it
    comes after what that one came after."""
    if run.prompt.status != Message.Status.QUEUED and run.takes_the_head:
        _let_go(thread, run)
    run.state = Run.State.STOPPED
    run.stop = {"seen": None}
    run.finished_at = timezone.now()
    run.error_code = ""
    run.version = thread.version
    run.save()
    Run.objects.queue_moved(thread)
    # What an attempt that said nothing has begun.
    begun = run.messages.filter(role=Message.Role.ASSISTANT)
    begun.update(status=Message.Status.CUT, version=thread.version, updated_at=Now())
    prompt = run.prompt
    thread.settle_head(prompt)
    if prompt.status == Message.Status.QUEUED:
        prompt.status = Message.Status.UNQUEUED
        prompt.version = thread.version
        prompt.save(update_fields=["status", "version", "updated_at"])
        Message.objects.filter(after=prompt).update(
            after=prompt.after_id, branch=prompt.branch, version=thread.version, updated_at=Now()
        )


def _let_go(thread: Thread, run: Run) -> None:
    """Another answer that was to be shown will not be: a message that was to come after it comes after the path's end
    as it is without it."""
    runs = waiting(thread)
    at = [waits.pk for waits in runs].index(run.pk)
    for follower in (waits.prompt for waits in runs[at + 1 :]):
        if follower.status == Message.Status.QUEUED and not follower.branch and follower.after_id == run.prompt_id:
            follower.after_id, follower.version = end(thread, runs[:at]), thread.version
            follower.save(update_fields=["after", "version", "updated_at"])
            return  # what comes next comes after it
