"""``http``: the sink that sends rows of decided epochs to a URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from dataflare import Batch, ConfigError, Context, DeferredSink, Duration, Problem, Resume, Retry, Schema, Secret, field
from dataflare.json_rows import to_json_rows
from dataflare_std.http.answers import accept

if TYPE_CHECKING:
    import httpx

MEDIA = {"json": "application/json", "jsonl": "application/x-ndjson"}


class Http(DeferredSink, name="http", ability="staged", fencing="names", shared="network"):
    """Send rows to a URL as JSON: only those of decided epochs, in order, each request with a key that never changes.

    A crash while sending repeats at most the request that was under way, with the same key; a service that honours
    `Idempotency-Key` takes it once. What the service confirmed is not sent again.

    The rows are decided when they are sent, so they cannot become dead letters any more: a service that refuses a
    request for good stops the flow with `commit_pending`. What was sent cannot be read back.
    """

    url: str | Secret = field(help="Where to send to: `https://api.example.com/readings`.")
    method: Literal["POST", "PUT", "PATCH"] = field(default="POST", help="The HTTP method.")
    headers: dict[str, str | Secret] = field(
        default={}, help="More headers, such as `Authorization: ${secret:NAME}`; the secret is the whole value."
    )
    format: Literal["json", "jsonl"] = field(default="json", help="An array of rows, or one row a line.")
    request_rows: int = field(  # type: ignore[misc]
        default=1000, ge=1, help="Rows of one request, at most."
    )
    timeout: Duration = field(default="30s", help="How long to wait for an answer.")
    key_header: str = field(default="Idempotency-Key", min_length=1, advanced=True, help="The header that has the key.")
    later: tuple[int, ...] = field(
        default=(408, 409, 425, 429),
        advanced=True,
        help="Answers after which the request is repeated, without end; also all of 500 and above.",
    )

    def check(self, ctx: Context) -> Iterable[Problem]:
        """The form of the address."""
        import httpx

        try:
            url = httpx.URL(self._url)
            fine = url.scheme in ("http", "https") and bool(url.host)
        except httpx.InvalidURL:
            fine = False
        if not fine:
            yield Problem(
                "http.url",
                "`url` is not an address to send to",
                pointer="/url",
                fix="write it in full: `https://api.example.com/readings`",
            )

    def plan(self, schema: Schema, ctx: Context) -> None:
        """Raises ConfigError for an address that is none."""
        problems = list(self.check(ctx))
        if problems:
            raise ConfigError(*problems)

    def open(self, ctx: Context, resume: Resume) -> None:
        """Open the spool and a connection that is kept."""
        super().open(ctx, resume)
        import httpx

        self.plan(Schema({}), ctx)
        self._client = httpx.Client(timeout=self.timeout, headers=self._headers())

    def send(self, batch: Batch, key: str) -> None:
        """Send one request. Raises Retry where nobody answers in time, or the service asks to come again."""
        import httpx

        place = self._place
        try:
            answer = self._client.request(
                self.method, self._url, content=self._body(batch), headers={self.key_header: key}
            )
        except httpx.TransportError as error:
            raise Retry(None, f"{place} does not answer: {type(error).__name__} {error}".rstrip()) from None
        accept(answer, place, self.later)

    def close(self) -> None:
        """Close the connection."""
        client: httpx.Client | None = getattr(self, "_client", None)
        if client is not None:
            client.close()

    @property
    def _url(self) -> str:
        return self.url.get() if isinstance(self.url, Secret) else self.url

    @property
    def _place(self) -> str:
        """The address in messages: without user, password and query."""
        import httpx

        url = httpx.URL(self._url)
        return f"{url.scheme}://{url.netloc.decode()}{url.path}"

    def _headers(self) -> Mapping[str, str]:
        given = {name: value.get() if isinstance(value, Secret) else value for name, value in self.headers.items()}
        return {"Content-Type": MEDIA[self.format], "User-Agent": "dataflare", **given}

    def _body(self, batch: Batch) -> bytes:
        rows = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in to_json_rows(batch)]
        text = f"[{','.join(rows)}]" if self.format == "json" else "".join(f"{row}\n" for row in rows)
        return text.encode()
