from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("chat", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="reasoning_ms",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
