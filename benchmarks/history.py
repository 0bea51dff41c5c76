"""Makes a chat that has gone on for long: ``python -m benchmarks.history SESSION TURNS`` prints the thread's id.

It runs in a process of its own, with the environment of the deployment. What is in it: see :mod:`benchmarks.catchup`.
"""

from __future__ import annotations

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()

from django.contrib.auth import SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.catchup import ANSWER, QUESTION, VERSIONS  # noqa: E402
from chat.models import Message, Run, Thread  # noqa: E402
from chat.protocol import LEASE_SPAN  # noqa: E402

session, turns = sys.argv[1], int(sys.argv[2])
owner = SessionStore(session)[SESSION_KEY]
with transaction.atomic():
    thread = Thread.objects.create(owner_id=owner)
    messages: list[Message] = []
    runs: list[Run] = []
    for turn in range(turns):
        asked, ended = turn * VERSIONS + 2, (turn + 1) * VERSIONS
        before = messages[-1] if messages else None
        question = Message(thread=thread, parent=before, role="user", status="complete", text="?" * QUESTION)
        run = Run(thread=thread, prompt=question, state=Run.State.COMPLETED, version=ended, seq=LEASE_SPAN + 1, lease=1)
        answer = Message(thread=thread, parent=question, role="assistant", status="complete", text="x" * ANSWER)
        question.version, answer.version, answer.seq = asked, ended, run.seq
        question.run = answer.run = run
        run.finished_at = timezone.now()
        messages += [question, answer]
        runs.append(run)
    Message.objects.bulk_create(messages)
    Run.objects.bulk_create(runs)
    thread.head = messages[-1]
    thread.version = thread.row_version = turns * VERSIONS + 1
    thread.touch_item()
    thread.save()
print(thread.pk)
