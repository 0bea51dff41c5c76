"""What every row has."""

from __future__ import annotations

from django.db import models


class Timestamped(models.Model):
    """``created_at`` never changes; ``updated_at`` follows every save."""

    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True
