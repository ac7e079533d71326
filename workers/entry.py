"""What Celery's own command line finds: `celery -A workers.entry worker|inspect|beat ...`."""

from app.config import read_settings
from workers.worker import make_worker_app

app = make_worker_app(read_settings())
