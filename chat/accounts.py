"""The pages of accounts: signing in and up, and one's own with its API tokens. Plain forms, without JavaScript."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.forms import UserCreationForm, UsernameField
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView, redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.generic import CreateView, FormView, View

from chat import conf, guests, tokens
from chat.errors import RateLimited
from chat.http import let_go


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]  # Django's classes are generic for the type checker only
    """Django's own, for whatever model users have."""

    class Meta:
        model = get_user_model()
        fields = (model.USERNAME_FIELD,)
        field_classes: ClassVar[dict[str, Any]] = {model.USERNAME_FIELD: UsernameField}


class SignIn(LoginView):
    """Django's own, in the page's style. A guest may sign in to an account."""

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return super().get_context_data(**context, **_visitor(self.request))


class SignOut(LogoutView):
    """Django's own, and the browser shows none of the pages again that it keeps."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        let_go(request, response)
        return response


class SignUp(CreateView):  # type: ignore[type-arg]
    """Make an account, where the settings allow it."""

    template_name = "registration/signup.html"
    form_class = SignUpForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not conf.SIGNUP:
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        login(self.request, form.save(), backend=settings.AUTHENTICATION_BACKENDS[0])
        return redirect(settings.LOGIN_REDIRECT_URL)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return super().get_context_data(**context, **_visitor(self.request))


def _visitor(request: HttpRequest) -> dict[str, Any]:
    user = request.user
    return {"guest": user.is_authenticated and guests.is_guest(user), "signup": conf.SIGNUP}


# --------------------------------------------------------------------------------------------------------- one's own


class OwnAccount(View):
    """For who has an account and came by its session. Others are sent to sign in, a guest to sign up if that is
    possible."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        visitor = _visitor(request)
        if visitor["guest"] or not request.user.is_authenticated:
            page = "signup" if visitor["guest"] and conf.SIGNUP else "login"
            return redirect_to_login(request.get_full_path(), page)
        return super().dispatch(request, *args, **kwargs)


class TokenForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("What will use it."))
    days = forms.TypedChoiceField(
        label=_("Expires"),
        choices=[
            (7, _("In 7 days")),
            (30, _("In 30 days")),
            (90, _("In 90 days")),
            (365, _("In a year")),
            ("", _("Never")),
        ],
        initial=90,
        coerce=int,
        empty_value=None,
        required=False,
    )


@method_decorator(never_cache, name="dispatch")
class Account(OwnAccount, FormView):  # type: ignore[type-arg]
    """One's API tokens, and a form that makes another. The answer to the form is the one place where the new token
    is to be seen: it is in no address and no session."""

    template_name = "registration/account.html"
    form_class = TokenForm

    def form_valid(self, form: Any) -> HttpResponse:
        days = form.cleaned_data["days"]
        lifetime = None if days is None else timedelta(days=days)
        try:
            made = tokens.make(self.request.user.pk, form.cleaned_data["name"], lifetime)
        except RateLimited:
            told = _("%(count)s tokens are all that one may have. Revoke one first.")
            form.add_error(None, told % {"count": tokens.MAX_TOKENS})
            return self.form_invalid(form)
        return self.render_to_response(self.get_context_data(form=self.form_class(), made=made))

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return super().get_context_data(**context, tokens=tokens.of_user(self.request.user.pk))


class ChangePassword(OwnAccount, PasswordChangeView):
    """Django's own, in the page's style. This session goes on, and all others of the account end."""

    template_name = "registration/password.html"
    success_url = reverse_lazy("account", query={"password": "changed"})


class RevokeToken(OwnAccount):
    """Revoke one of one's tokens. Whatever it was before, and whosever, the account's page shows what is."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        tokens.revoke(tokens.of_user(request.user.pk).filter(pk=token_id))
        return redirect("account")
