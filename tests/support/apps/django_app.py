"""A Django project in one module, run by gunicorn's threaded worker as people deploy it behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path

settings.configure(
    SECRET_KEY="only for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["shop.test"],
    USE_X_FORWARDED_HOST=True,
    USE_X_FORWARDED_PORT=True,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
)


def health(request: HttpRequest) -> HttpResponse:
    """For the router's health check."""
    return HttpResponse("ok")


def where(request: HttpRequest) -> JsonResponse:
    """How Django sees itself addressed."""
    found = {
        "uri": request.build_absolute_uri(),
        "forwarded_for": request.META.get("HTTP_X_FORWARDED_FOR"),
        "request_id": request.META.get("HTTP_X_REQUEST_ID"),
    }
    return JsonResponse(found)


def form(request: HttpRequest) -> HttpResponse:
    """A form with CSRF protection: GET gives the token, POST needs it."""
    if request.method == "POST":
        return HttpResponse(f"hello {request.POST['name']}")
    return HttpResponse(get_token(request))


def rows(request: HttpRequest) -> StreamingHttpResponse:
    """A long export, row by row."""

    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"{number},row\r\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")


urlpatterns = [path("health", health), path("where/", where), path("form", form), path("rows", rows)]


def create() -> WSGIHandler:
    """The WSGI application."""
    django.setup()
    return WSGIHandler()
