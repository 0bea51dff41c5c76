"""The Django app."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Rejoin"
    default_auto_field = "django.db.models.BigAutoField"  # as in the migrations, whatever the project's own is

    def ready(self) -> None:
        from chat import checks  # noqa: F401  (registers them)
