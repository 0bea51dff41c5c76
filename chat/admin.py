"""The admin: threads, messages, runs, workers, API tokens and kept replies, for inspection. Nothing is changed here: a
change would bypass versions and viewers.

Fast with long threads: one object leads to others by links to filtered lists, lists load no texts, and no page's
queries grow with what is stored.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Left, Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from chat.errors import CODES, RunError, TooLarge
from chat.models import ApiToken, Command, Message, Run, Thread, ThreadQuerySet, Worker

PREVIEW = 80
"""Characters of a text in a list."""
ANSWERS = 20
"""Answers of a run that its page links to; its list has the others."""
NOTHING = "–"

admin.site.site_header = admin.site.site_title = "Rejoin"


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who may view may look, and nobody may do more. Searching for an id finds it in any of ``ids``."""

    ids: tuple[str, ...] = ()
    actions = None
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        found = Q()
        for name in self.ids:  # each by itself: joined, they would multiply
            found |= Q(pk__in=self.model._base_manager.filter(**{name: wanted}).values("pk"))
        return queryset.filter(found), False


def owner_name(prefix: str) -> str:
    """The lookup of a user's name, whatever the user model calls it."""
    return f"{prefix}__{get_user_model().USERNAME_FIELD}"


def link(target: models.Model | None, text: str = "") -> str | SafeString:
    """A link to an object's page."""
    if target is None:
        return NOTHING
    address = reverse(f"admin:{target._meta.app_label}_{target._meta.model_name}_change", args=[target.pk])
    return format_html('<a href="{}">{}</a>', address, text or str(target))


def link_to_list(model: type[models.Model], text: str, **filters: object) -> SafeString:
    """A link to a list, filtered."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?{}">{}</a>', address, "&".join(f"{k}={v}" for k, v in filters.items()), text)


def seconds(duration: timedelta | None) -> str:
    return NOTHING if duration is None else f"{duration.total_seconds():,.1f} s"


def between(begin: Any, end: Any) -> timedelta | None:
    return None if begin is None or end is None else end - begin


# -------------------------------------------------------------------------------------------------------- threads


class Activity(admin.SimpleListFilter):
    """Threads in which something is running or waiting."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "running"), ("queued", "queued"), ("idle", "idle")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "idle":
            return queryset.filter(is_running=False, is_queued=False)
        return queryset.filter(**{f"is_{self.value()}": True}) if self.value() in ("running", "queued") else queryset


@admin.register(Thread)
class ThreadAdmin(ReadOnly):
    list_display = ("name", "owner", "state", "messages", "runs", "version", "created_at", "updated_at")
    list_filter = (Activity, "archived", "pinned", ("deleted_at", admin.EmptyFieldListFilter), "updated_at")
    list_select_related = ("owner",)
    ordering = ("-updated_at",)
    ids = ("pk", "messages", "runs")
    search_help_text = "Title, owner, or the id of the thread, of a message or of a run."
    fields = (
        ("name", "state"),
        "owner",
        ("messages", "runs", "head"),
        ("model", "archived", "pinned"),
        "system_prompt",
        ("created_at", "updated_at", "deleted_at"),
        ("version", "row_version", "inbox_version", "answered_version", "read_version"),
    )

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("title", owner_name("owner"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        threads: ThreadQuerySet = super().get_queryset(request)  # type: ignore[assignment]
        return threads.with_status()

    @admin.display(description="title", ordering="title")
    def name(self, thread: Thread) -> str:
        return thread.title or ("(deleted)" if thread.deleted_at else "(untitled)")

    @admin.display(description="state")
    def state(self, thread: Any) -> str:
        return "running" if thread.is_running else "queued" if thread.is_queued else "idle"

    @admin.display(description="messages")
    def messages(self, thread: Thread) -> SafeString:
        return link_to_list(Message, "messages", thread=thread.pk)

    @admin.display(description="runs")
    def runs(self, thread: Thread) -> SafeString:
        return link_to_list(Run, "runs", thread=thread.pk)


# ------------------------------------------------------------------------------------------------------- messages


class WithoutTexts(ChangeList):
    """A list of messages: of each text only the beginning and the length are read."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        found = super().get_queryset(request, *args, **kwargs).defer("text", "reasoning", "thread__system_prompt")
        rows: QuerySet[Any] = found.annotate(beginning=Left("text", PREVIEW + 1), length=Length("text"))
        return rows


@admin.register(Message)
class MessageAdmin(ReadOnly):
    list_display = ("created_at", "preview", "role", "status", "author", "characters", "in_thread", "of_run")
    list_filter = ("role", "status", "created_at")
    list_select_related = ("thread", "run")
    ordering = ("-created_at", "id")
    ids = ("pk", "thread", "run", "parent")
    search_fields = ("text", "author")
    search_help_text = "Text, author, or the id of the message, its thread, its run or its parent."
    fields = (
        ("role", "author", "status", "error_code"),
        "text",
        ("reasoning", "reasoning_ms"),
        ("thread", "run"),
        ("parent", "replies", "after", "branch"),
        ("created_at", "updated_at"),
        ("seq", "base_length", "version"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WithoutTexts

    @admin.display(description="text")
    def preview(self, message: Any) -> str:
        beginning = " ".join(message.beginning.split())
        return (beginning[:PREVIEW] + "…" if message.length > PREVIEW else beginning) or NOTHING

    @admin.display(description="characters", ordering=Length("text"))
    def characters(self, message: Any) -> str:
        return f"{message.length:,}"

    @admin.display(description="thread", ordering="thread__title")
    def in_thread(self, message: Message) -> str:
        return link(message.thread)

    @admin.display(description="run", ordering="run__state")
    def of_run(self, message: Message) -> str:
        return link(message.run, message.run.state if message.run else "")

    @admin.display(description="replies")
    def replies(self, message: Message) -> SafeString:
        return link_to_list(Message, "replies", parent=message.pk)


# ----------------------------------------------------------------------------------------------------------- runs


class ErrorCode(admin.SimpleListFilter):
    """Why runs ended badly. The codes come from the code: asking the table for them would read all of it."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = [code for code, kind in CODES.items() if issubclass(kind, RunError | TooLarge)]
        return [("any", "any"), *((code, code) for code in codes)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "any":
            return queryset.exclude(error_code="")
        return queryset.filter(error_code=self.value()) if self.value() else queryset


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = (
        "created_at",
        "state",
        "in_thread",
        "model",
        "waited",
        "to_first_token",
        "took",
        "tokens_out",
        "speed",
        "error_code",
        "attempts",
    )
    list_filter = ("state", ErrorCode, "created_at", "finished_at")
    list_select_related = ("thread",)
    ordering = ("-created_at", "id")
    ids = ("pk", "thread", "prompt", "messages")
    search_help_text = "Model, owner, worker, error, or the id of the run, its thread, its question or an answer."
    fields = (
        ("state", "error_code", "retry_after"),
        ("thread", "model"),
        ("prompt", "continues", "resumes"),
        "answers",
        ("waited", "to_first_token", "took", "speed"),
        ("created_at", "started_at", "first_token_at", "last_token_at", "finished_at", "announced_at"),
        ("tokens_in", "tokens_out", "left_out"),
        ("lease_owner", "lease", "lease_expires_at", "attempts"),
        ("stop", "parameters"),
        ("place", "seq", "version"),
    )

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("model", owner_name("thread__owner"), "lease_owner", "error_code")

    @admin.display(description="thread", ordering="thread__title")
    def in_thread(self, run: Run) -> str:
        return link(run.thread)

    @admin.display(description="queued for", ordering=F("started_at") - F("created_at"))
    def waited(self, run: Run) -> str:
        return seconds(between(run.created_at, run.started_at))

    @admin.display(description="first token after", ordering=F("first_token_at") - F("started_at"))
    def to_first_token(self, run: Run) -> str:
        return seconds(between(run.started_at, run.first_token_at))

    @admin.display(description="finished after", ordering=F("finished_at") - F("started_at"))
    def took(self, run: Run) -> str:
        return seconds(between(run.started_at, run.finished_at))

    @admin.display(description="tokens/s")
    def speed(self, run: Run) -> str:
        spoke = between(run.first_token_at, run.last_token_at)
        return f"{run.tokens_out / spoke.total_seconds():,.1f}" if spoke and run.tokens_out else NOTHING

    @admin.display(description="answers")
    def answers(self, run: Run) -> SafeString:
        written = run.messages.filter(role=Message.Role.ASSISTANT).defer("text", "reasoning")[:ANSWERS]
        return format_html(
            "{} ({})",
            format_html_join(", ", "{}", ((link(message, message.status),) for message in written)),
            link_to_list(Message, "all of its messages", run=run.pk),
        )


# ------------------------------------------------------------------------------------- workers, commands, tokens


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    list_display = ("name", "seen_at", "created_at")
    ordering = ("-seen_at",)


@admin.register(Command)
class CommandAdmin(ReadOnly):
    list_display = ("created_at", "type", "user", "command")
    list_filter = ("created_at",)
    list_select_related = ("user",)
    ordering = ("-created_at",)
    ids = ("command",)
    search_help_text = "Type, user, or the id of the command."

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("type", owner_name("user"))


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    """``manage.py api_token`` makes and revokes them."""

    list_display = ("prefix", "name", "user", "state", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("created_at", "last_used_at", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    ordering = ("-created_at",)
    ids = ("pk",)
    search_help_text = "Name, user, or what the token begins with."
    fields = ("prefix", "name", "user", "state", ("created_at", "last_used_at", "expires_at", "revoked_at"))

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("name", "prefix__startswith", owner_name("user"))
