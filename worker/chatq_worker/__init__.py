"""The doing side of chatq: Celery workers that call the providers. Read `completion.py` first."""
