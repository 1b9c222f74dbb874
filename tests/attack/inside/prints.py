"""Task code that prints what it knows in every way it can think of, and guesses what it does not know."""

import base64
import html
import json
import os
import sys
import time
import urllib.parse
import urllib.request

DSN_PASSWORD = urllib.parse.unquote(urllib.parse.urlsplit(os.environ["DSN"]).password)
ACCOUNT = json.loads(os.environ["ACCOUNT"])
SECRETS = [os.environ["TOKEN"], DSN_PASSWORD, ACCOUNT["client"]["id"], *ACCOUNT["key"].split("\n")[1:-1]]
WAYS = {
    "plain": str,
    "coloured": lambda s: s[:3] + "\x1b[1;31m" + s[3:] + "\x1b[0m",
    "without width": lambda s: s[:5] + "\u200b" + s[5:],
    "json": json.dumps,
    "json in json": lambda s: json.dumps(json.dumps({"x": s})),
    "repr": repr,
    "bytes": lambda s: repr(s.encode()),
    "url": lambda s: urllib.parse.quote(s, safe=""),
    "html": html.escape,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "login": lambda s: "Basic " + base64.b64encode(b"me:" + s.encode()).decode(),
    "header": lambda s: base64.b64encode(b"x" + s.encode() + b"yy").decode(),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "address": lambda s: f"https://me:{urllib.parse.quote(s, safe='')}@host/?token={s[:4]}",
}


def written():
    for secret in SECRETS:
        for way in WAYS.values():
            yield f"<{way(secret)}>"
    yield json.dumps(ACCOUNT)
    yield os.environ["ACCOUNT"]
    yield base64.b64encode(os.environ["ACCOUNT"].encode()).decode()
    # More than any line holds, without a line break; cut somewhere by whoever reads.
    yield "<" + os.environ["LONG"] + ">"


def answer(request, **fields):
    print(json.dumps({"task_id": request["task_id"], **fields}), flush=True)


def say(text):
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)


def look(url):
    pages = {}
    for path in ("/status", "/", "/metrics", "/readyz", "/livez"):
        with urllib.request.urlopen(url + path, timeout=30) as page:
            pages[path] = page.read().decode()
    return pages


print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    if payload["do"] == "print":
        for text in written():
            say(text)
        answer(request, result="done")
    elif payload["do"] == "fail":
        answer(request, error="\n".join(written())[:12000], retry=False)
    elif payload["do"] == "die" and request["retry_count"] == 0:
        for text in list(written())[-40:-4]:
            print(text, file=sys.stderr, flush=True)
        os._exit(3)
    elif payload["do"] == "guess":
        say(f"is it {payload['guess']} ?")
        print(json.dumps({"task_id": payload["guess"], "result": 1}), flush=True)
        answer(request, error=f"is it {payload['guess']} ?", retry=False)
    elif payload["do"] == "look":
        answer(request, result=look(payload["url"]))
    else:
        answer(request, result="done")
