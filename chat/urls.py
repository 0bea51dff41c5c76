"""Which page and which API goes where."""

from __future__ import annotations

from django.urls import path, re_path

from chat import accounts, api, own_data, views

urlpatterns = [
    path("", views.chat, name="chat"),
    path("c/<uuid:thread_id>/", views.thread, name="thread"),
    path("c/<uuid:thread_id>/html/<uuid:message_id>/", views.html, name="html"),
    path("login/", accounts.SignIn.as_view(), name="login"),
    path("logout/", accounts.SignOut.as_view(), name="logout"),
    path("signup/", accounts.SignUp.as_view(), name="signup"),
    path("account/", accounts.Account.as_view(), name="account"),
    path("account/password/", accounts.ChangePassword.as_view(), name="change-password"),
    path("account/tokens/<uuid:token_id>/revoke/", accounts.RevokeToken.as_view(), name="revoke-token"),
    path("account/data/", own_data.page, name="data"),
    path("account/data/download/", own_data.download, name="download"),
    path("api/", api.urls),
    re_path(r"^api(?:/|\Z)", api.unknown),
]
