"""A long answer by Django, for its development server."""

from __future__ import annotations

import sys
import time

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="a test's")


def answer(request: HttpRequest) -> HttpResponse:
    time.sleep(4.0 if request.path == "/long" else 0.0)
    return HttpResponse("ok")


urlpatterns = [re_path("", answer)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
