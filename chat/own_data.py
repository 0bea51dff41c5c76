"""The pages of what somebody has here: taking it along, and deleting it with the account. For guests, too.

Plain forms, without JavaScript.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django import forms
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from chat import access, export, guests
from chat.actions import users
from chat.announcement import Announcement
from chat.database import in_database
from chat.errors import NotFound
from chat.http import let_go, limited, process_of
from chat.languages import kept
from chat.process import Process
from chat.protocol import PROTOCOL
from chat.replication import listing
from chat.replication.listing import Listing
from chat.replication.rows import moment
from chat.tasks import to_its_end

FILE_NAME = "rejoin.json"


class DeleteForm(forms.Form):
    """What shows that it is meant: the password; of who has none, their name; of a guest, who has neither, nothing."""

    def __init__(self, user: Any, guest: bool, data: Any = None) -> None:
        super().__init__(data)
        self.user = user
        if guest:
            return
        if user.has_usable_password():
            field = forms.CharField(
                label=_("Your password"),
                strip=False,
                widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
            )
        else:
            confirm = _("Write %(name)s to confirm.") % {"name": escape(user.get_username())}
            field = forms.CharField(label=_("Your user name"), help_text=confirm)
        self.fields["proof"] = field

    def clean_proof(self) -> str:
        proof: str = self.cleaned_data["proof"]
        if self.user.has_usable_password():
            if not self.user.check_password(proof):
                raise forms.ValidationError(_("This is not your password."))
        elif proof != self.user.get_username():
            raise forms.ValidationError(_("This is not your user name."))
        return proof


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited
async def page(request: HttpRequest) -> HttpResponseBase:
    """What can be done with one's data. A POST deletes the account, if it comes with what shows that it is meant."""

    def make(user: Any) -> tuple[HttpResponse, list[Announcement]]:
        guest = guests.is_guest(user)
        form = DeleteForm(user, guest, request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {"form": form, "guest": guest, "visitor": user, "chats": access.threads(user.pk).count()}
            return render(request, "registration/data.html", context), []
        announcements = users.delete(user.pk)
        logout(request)
        response = render(request, "registration/deleted.html", {"left": user.pk, "guest": guest})
        let_go(request, response)
        return response, announcements

    async def answer(user: Any) -> HttpResponse:
        response, announcements = await in_database(kept(make), user)
        for announcement in announcements:
            await process_of(request).announce(announcement)
        return response

    visitor = await guests.visitor(request, welcome=False)
    if visitor is None:
        return redirect_to_login(request.get_full_path())
    if request.method == "POST":
        process_of(request).limits.command(visitor.pk)
    return await to_its_end(answer(visitor))


@never_cache
@require_safe
@limited
async def download(request: HttpRequest) -> HttpResponseBase:
    """All one's threads as a JSON file: each as it is exported alone (chat/export.py), read when its turn comes, so
    that it takes no more memory than the largest. One that is deleted meanwhile is left out; a download that fails
    breaks off, and is no JSON."""
    user = await guests.visitor(request, welcome=False)
    if user is None:
        return redirect_to_login(request.get_full_path())
    process_of(request).limits.command(user.pk)
    response = StreamingHttpResponse(_everything(process_of(request), user), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{FILE_NAME}"'
    return response


async def _everything(process: Process, user: Any) -> AsyncIterator[bytes]:
    def read(thread: UUID) -> Coroutine[Any, Any, Listing]:
        return listing.current(process.sources.database, process.sources.log, listing.everything, user.pk, thread)

    about = {"id": str(user.pk), "name": user.get_username()}
    head = orjson.dumps({"protocol": PROTOCOL, "made_at": moment(timezone.now()), "user": about})
    yield head[:-1] + b',"threads":['
    between = b"\n"
    for thread in await process.sources.database(_threads, user.pk):
        try:
            found = await process.reading.do(user.pk, partial(read, thread))
        except NotFound:
            continue
        yield between + orjson.dumps(export.document(found))
        between = b",\n"
    yield b"\n]}\n"


def _threads(user_id: Any) -> list[UUID]:
    return list(access.threads(user_id).order_by("created_at", "id").values_list("pk", flat=True))
