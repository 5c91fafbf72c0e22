"""django-oauth-toolkit on loopback, for tests.

It reads one JSON object (see django.go) as the first line of its standard input, prints {"Address": ...} when it is
ready, and ends when its standard input does.
"""
import hashlib
import io
import json
import logging
import os
import socketserver
import sys
import threading
from datetime import datetime, timezone
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings

config = json.loads(sys.stdin.readline())

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": config["database"]}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # redirects to addresses that lack a slash
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": config["access_token_seconds"],
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": config["signing_key"],
        "PKCE_REQUIRED": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": config["grace_seconds"],
        "ROTATE_REFRESH_TOKEN": True,
        "SCOPES": {config["scope"]: config["scope"], "openid": "openid"},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(16).hex(),
    USE_TZ=True,
)
logging.disable(logging.WARNING)  # it warns of every 4xx
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider import views  # noqa: E402
from oauth2_provider.models import get_access_token_model, get_application_model  # noqa: E402
from oauth2_provider.oauth2_backends import get_oauthlib_core  # noqa: E402

ledger = []
spent = set()  # names of the refresh tokens that rotation has replaced


def name(token):
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""


def authorize(request):
    """The authorization endpoint, for whoever login_hint names: they are signed in and consent."""
    request.user, _ = get_user_model().objects.get_or_create(
        username=request.GET["login_hint"], defaults={"last_login": datetime.now(timezone.utc)})
    return views.AuthorizationView.as_view()(request)


def token(request):
    """The token endpoint, which writes its ledger. A failure of Django's own is in it too, and goes on."""
    line = {"time": datetime.now(timezone.utc).isoformat(), "status": 500}
    try:
        form = {key: values[-1] for key, values in parse_qs(request.body.decode()).items()}
        presented = name(form.get("refresh_token"))
        line.update(grant_type=form.get("grant_type"), client_id=form.get("client_id"), presented=presented,
                    user_agent=request.headers.get("User-Agent"), reuse=presented in spent)
        response = views.TokenView.as_view()(request)
        answer = json.loads(response.content)
        line.update(status=response.status_code, error=answer.get("error"), issued=name(answer.get("refresh_token")))
        if presented and response.status_code == 200:
            spent.add(presented)
        return response
    finally:
        ledger.append(line)


def api(request):
    valid, grant = get_oauthlib_core().verify_request(request, scopes=[])
    if valid:
        return JsonResponse({"sub": grant.user and grant.user.username})
    response = JsonResponse({"error": "invalid_token"}, status=401)
    response["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


class Protected(views.generic.ProtectedResourceView):
    """A resource behind the toolkit's own view."""

    def get(self, request):
        return JsonResponse({})


def expire(request):
    """Ends an access token before its time; its refresh token lives on."""
    tokens = get_access_token_model().objects.filter(token=request.body.decode())
    return HttpResponse(status=204 if tokens.update(expires=datetime.now(timezone.utc)) else 404)


endpoints = [
    path("authorize", authorize, name="authorize"),
    path("token", token, name="token"),
    path("revoke", views.RevokeTokenView.as_view()),
    path("userinfo/", views.UserInfoView.as_view(), name="user-info"),
    path(".well-known/openid-configuration/", views.ConnectDiscoveryInfoView.as_view(), name="oidc-connect-discovery-info"),
    path(".well-known/jwks.json", views.JwksInfoView.as_view(), name="jwks-info"),
]
urlpatterns = [
    path("o/", include((endpoints, "oauth2_provider"))),
    path("api", api),
    path("protected", Protected.as_view()),
    path("test/expire", expire),
    path("test/log", lambda request: JsonResponse(ledger, safe=False)),
]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a connection, so that one on which nothing comes keeps nobody waiting."""

    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def one_at_a_time(application):
    """SQLite fails those who write at the same time; the lock makes them wait."""
    lock = threading.Lock()

    def locked(environ, start_response):
        # Read before, so that a client who is slow to send keeps nobody waiting.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            response = application(environ, start_response)
            try:
                return [b"".join(response)]
            finally:
                response.close()

    return locked


call_command("migrate", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("PRAGMA journal_mode=WAL")
for client_id, kind, grant in [
    ("native", "public", "authorization-code"), ("web", "confidential", "authorization-code"),
    ("daemon", "confidential", "client-credentials"),
]:
    get_application_model().objects.create(
        client_id=client_id, client_type=kind, client_secret=config["secret"], authorization_grant_type=grant,
        redirect_uris=config["redirect_uri"], skip_authorization=True, algorithm="RS256",
    )
connection.close()

server = Server(("127.0.0.1", 0), Handler)
server.set_app(one_at_a_time(get_wsgi_application()))
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"Address": "%s:%d" % server.server_address}), flush=True)
sys.stdin.read()
