"""Sessions of browsers: a random cookie, and what the store keeps under its digest until the session ends."""

import hashlib
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response

from extproc.store.interface import Store

_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


class BrowserSessions:
    def __init__(self, store: Store, name: str, *, secure: bool) -> None:
        """`name`: of the cookie. `secure`: the pages come by HTTPS, so the cookie travels by nothing else."""
        self._store = store
        self._secure = secure
        self._folder = f"{name}/"
        # https://www.ietf.org/archive/id/draft-ietf-httpbis-rfc6265bis-15.html#section-4.1.3.2
        self.cookie = f"__Host-{name}" if secure else name

    async def begin(self, answer: Response, value: str, seconds: float) -> None:
        """Adds the cookie of a new session to `answer`. `value`: what the session holds. Raises StoreDown."""
        secret = secrets.token_urlsafe(32)
        await self._store.put(self._entry(secret), value.encode(), seconds)
        # `lax`, not `strict`: the redirect that ends a sign-in begins at another site.
        answer.set_cookie(
            self.cookie, secret, int(seconds), path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    async def value(self, request: Request) -> str | None:
        """Returns what the session of this browser holds; None if it has none. Raises StoreDown."""
        secret = request.cookies.get(self.cookie, "")
        if not _FORM.fullmatch(secret):
            return None
        found = await self._store.get(self._entry(secret))
        return found.decode() if found is not None else None

    async def end(self, request: Request, answer: Response) -> None:
        """Raises StoreDown."""
        secret = request.cookies.get(self.cookie, "")
        if _FORM.fullmatch(secret):
            await self._store.take(self._entry(secret))
        # With the same attributes: a browser ignores a `__Host-` cookie that is not `secure`, also one that deletes.
        answer.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _entry(self, secret: str) -> str:
        return self._folder + hashlib.sha256(secret.encode()).hexdigest()


def of_sign_in(store: Store, public_url: str) -> BrowserSessions:
    """Sessions of people who have signed in; each holds an access token of the gateway."""
    return BrowserSessions(store, "extproc-console", secure=public_url.startswith("https:"))


def of_link(store: Store, *, secure: bool) -> BrowserSessions:
    """Sessions of the person at this machine."""
    return BrowserSessions(store, "extproc-console-link", secure=secure)
