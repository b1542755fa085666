"""A browser of few words: it signs a user in through the provider's own login and consent forms."""

import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.cookiejar import CookieJar

MAX_STEPS = 20


class Form(HTMLParser):
    """The first form of a page: where it goes and what it holds."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self.done = None, {}, False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = attrs.get("action") or ""
        elif tag == "input" and self.action is not None and not self.done and attrs.get("name"):
            self.fields[attrs["name"]] = attrs.get("value") or ""

    def handle_endtag(self, tag):
        self.done = self.done or (tag == "form" and self.action is not None)


class StayHere(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the caller."""

    def redirect_request(self, *_args):
        return None


def open_page(opener, url, fields):
    """One request: the address to go to next, or the page."""
    data = None if fields is None else urllib.parse.urlencode(fields).encode()
    try:
        with opener.open(url, data, timeout=15) as answer:
            return None, answer.read().decode()
    except urllib.error.HTTPError as answer:
        if answer.code in (301, 302, 303, 307, 308):
            return urllib.parse.urljoin(url, answer.headers["location"]), None
        raise RuntimeError(f"{url}: {answer.code} {answer.read().decode()[:2000]}") from None


def sign_in(authorization_url, login):
    """The callback's query (`code`, `state`, `iss`, or `error`) after `login` signed in and agreed. The callback itself is not called."""
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(authorization_url).query))
    callback = asked["redirect_uri"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()), StayHere())
    url, fields = authorization_url, None
    for _ in range(MAX_STEPS):
        goto, page = open_page(opener, url, fields)
        if goto is None:
            form = Form(page)
            if form.action is None:
                raise RuntimeError(f"{url}: neither a redirect nor a form: {page[:2000]}")
            answers = {"login": login, "password": "any"}
            fields = {name: answers.get(name, value) for name, value in form.fields.items()}
            url = urllib.parse.urljoin(url, form.action)
        elif goto.split("?")[0] == callback:
            return dict(urllib.parse.parse_qsl(urllib.parse.urlparse(goto).query))
        else:
            url, fields = goto, None
    raise RuntimeError(f"no callback after {MAX_STEPS} steps, last at {url}")
