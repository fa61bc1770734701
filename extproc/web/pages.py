"""The pages of the sign-in: plain HTML without scripts, readable on a phone."""

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from extproc.sign_in.device import Device
from extproc.sign_in.loopback import AuthorizationRequest

_STYLE = """
body{font:1.05rem/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:32rem;margin:0 auto;
padding:2rem 1rem}
h1{font-size:1.4rem}
code{display:block;font:600 2rem/1.4 ui-monospace,monospace;letter-spacing:.12em;text-align:center;padding:.75rem 0}
.why{border-left:.25rem solid #b3261e;padding-left:.75rem}
button,input{font:inherit;width:100%;box-sizing:border-box;padding:.75rem;margin:.4rem 0;border-radius:.5rem;
border:1px solid #555}
button{background:#1b1b1b;color:#fff;cursor:pointer}
button.second{background:#fff;color:#1b1b1b}
@media (prefers-color-scheme:dark){body,button.second{color:#eee;background:#161616}
button{background:#eee;color:#161616}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page(title: str, *parts: str, status: int = 200, form_to: str = "") -> HTMLResponse:
    """`parts`: HTML. `form_to`: an origin to which the answer to a form may redirect, besides our own."""
    # Browsers hold the whole chain of redirects against this list, and a provider may hand on to another at once:
    # https://www.w3.org/TR/CSP3/#directive-form-action
    forms = f"'self' {form_to} https:" if form_to else "'self'"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {forms}; frame-ancestors 'none'; "
        "base-uri 'none'"
    )
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
    return HTMLResponse(html, status, {"content-security-policy": policy})


def text(words: str) -> str:
    return f"<p>{escape(words)}</p>"


def problem(words: str) -> str:
    return f'<p class="why">{escape(words)}</p>'


def enter_code(given: str = "", why: str = "", status: int = 200) -> HTMLResponse:
    """Asks for the code that the other device shows."""
    form = (
        '<form method="post" action="/device"><input name="user_code" aria-label="Code" autocomplete="off"'
        f' autocapitalize="characters" spellcheck="false" maxlength="40" required value="{escape(given)}">'
        "<button>Continue</button></form>"
    )
    parts = [problem(why)] if why else []
    return page("Sign in", *parts, text("Enter the code that your terminal shows."), form, status=status)


def confirm(device: Device, minutes: int, form_to: str, why: str = "") -> HTMLResponse:
    """Shows the code and asks whether it is the one on the person's own device: a link with a code in it can come from
    somebody else (https://www.rfc-editor.org/rfc/rfc8628#section-5.4)."""
    code = escape(f"{device.user_code[:4]}-{device.user_code[4:]}")
    hidden = f'<input type="hidden" name="user_code" value="{code}">'
    when = "just now" if minutes < 1 else f"{minutes} min ago"
    asked = f"{device.client} asked for it {when}" + (f" from {device.address}." if device.address else ".")
    warning = (
        "Continue only if your own terminal shows exactly this code. If somebody sent you this link or asked you for "
        "the code, cancel: they would be signed in as you."
    )
    parts = [problem(why)] if why else []
    parts += [
        text("Your device shows this code:"),
        f"<code>{code}</code>",
        text(asked),
        text(warning),
        f'<form method="post" action="/device">{hidden}<button>Yes, sign in with my company account</button></form>',
        f'<form method="post" action="/device/deny">{hidden}<button class="second">Cancel</button></form>',
    ]
    return page("Sign in", *parts, form_to=form_to)


def confirm_program(request: AuthorizationRequest, provider: str) -> HTMLResponse:
    """Asks whether a program on this machine may sign the person in. `provider`: the origin of the company's login."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in request.fields.items()
    )
    warning = (
        "Continue only if you have just typed extproc login --browser in a terminal on this machine. "
        "If somebody sent you this link, close this page."
    )
    return page(
        "Sign in",
        text("The extproc command on this machine wants to sign you in."),
        text(warning),
        f'<form method="post" action="/oauth/authorize">{hidden}'
        "<button>Yes, sign in with my company account</button></form>",
        form_to=f"{provider} {request.origin}",
    )


def enter_console(provider: str) -> HTMLResponse:
    """Asks for the sign-in to the console. `provider`: the origin of the company's login."""
    return page(
        "Sign in to the console",
        text("It shows what calls to models cost, and how they went. You see your own; operators see all."),
        '<form method="post" action="/oauth/console"><button>Sign in with my company account</button></form>',
        form_to=provider,
    )


def signed_in() -> HTMLResponse:
    return page("You're signed in.", text("Return to your device. You can close this page."))


def denied() -> HTMLResponse:
    again = "The code is void, and nobody was signed in. If that was a mistake, begin again on your device."
    return page("Cancelled.", text(again))


def failed(why: str, status: int = 400) -> HTMLResponse:
    """The sign-in did not come about."""
    return page("We couldn't finish signing you in.", problem(why), status=status)
