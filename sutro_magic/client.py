"""The HTTP API of the service: requests, retries, and errors a person can act on.

Both generations are spoken: ``https://api.sutro.sh/jobs/...`` and ``<deployment>/v1/jobs/...``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from sutro_magic.credentials import WHERE_KEYS_COME_FROM, Secret
from sutro_magic.errors import (
    AuthenticationError,
    ConfigurationError,
    JobNotFoundError,
    ServiceError,
    ServiceGoneError,
    shorten,
)
from sutro_magic.models import Job, JobStatus, ResultsRequest, failure_text
from sutro_magic.replies import AN_HTML_PAGE, beginning, is_html, what_it_looks_like
from sutro_magic.secrecy import KeyAuth, no_auth
from sutro_magic.transport import READ_SECONDS, RetryPolicy, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

    from sutro_magic.credentials import Credentials

PAGE_SIZE = 100  # the largest `limit` of list-jobs
CHECK_ROUTES = ("auth/check", "try-authentication")
NOT_FOUND = 404
PARAMETER_REFUSED = frozenset({400, 422})


@dataclass(frozen=True, kw_only=True)
class SignedArtifact:
    """A Parquet artifact behind a signed URL; the URL is a secret while it lives.

    Attributes
    ----------
    url : Secret
        Signed for GET; must be asked without the API key.
    """

    url: Secret


class Client:
    """One deployment with one key.

    Parameters
    ----------
    credentials : Credentials
    retry : RetryPolicy, optional
    on_retry : callable, optional
        Told in a few words when a request failed and is tried again.
    on_job : callable, optional
        Told each job that the service describes.
    """

    def __init__(
        self,
        credentials: Credentials,
        retry: RetryPolicy | None = None,
        *,
        on_retry: Callable[[str], None] = lambda _reason: None,
        on_job: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self.credentials = credentials
        self._on_job = on_job
        self.retry = retry or RetryPolicy()
        self.serves_results_url: bool = not credentials.is_direct
        self._base = credentials.base_url
        self._base_is_known = credentials.is_direct
        self._format_parameter = "result_format" if credentials.is_direct else "format"
        # A proxy for the outside world must not stand before a service on this machine.
        self._transport = Transport(trust_env=not credentials.is_loopback, on_retry=on_retry)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- jobs ---------------------------------------------------------------------------------

    def check_key(self) -> None:
        """Ask the deployment whether the key is good; raise `AuthenticationError` if not."""
        for route in CHECK_ROUTES:
            try:
                answer = self._json(route, optional=True)
            except ServiceError as error:
                if error.status_code == NOT_FOUND and route == CHECK_ROUTES[0]:
                    continue  # an older deployment knows only the second route
                raise
            if not (isinstance(answer, dict) and answer.get("authenticated") is True):
                raise self._key_refused(401)
            return

    def get_job(self, job_id: str, *, best_effort: bool = False) -> Job:
        """Read one job.

        Parameters
        ----------
        job_id : str
        best_effort : bool
            One quick try, for details that are nice to have.

        Raises
        ------
        JobNotFoundError
        """
        retry = RetryPolicy(tries=1) if best_effort else self.retry
        timeout = 5.0 if best_effort else READ_SECONDS
        answer = self._json(f"jobs/{_segment(job_id)}", job_id=job_id, retry=retry, read_seconds=timeout)
        data = answer.get("job") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise ServiceError(f"{self.place} described the job in a way that is not understood.")
        job = Job.from_api({"job_id": job_id, **data})
        self._on_job(job)
        return job

    def get_status(self, job_id: str) -> tuple[JobStatus, str | None]:
        """Read the status of one job and, if it failed, the reason.

        The newer API answers with a map from id to status, the older one with plain text.
        """
        answer = self._json(f"job-status/{_segment(job_id)}", job_id=job_id)
        status = answer.get("job_status") if isinstance(answer, dict) else None
        if isinstance(status, dict):
            status = status.get(job_id) or next(iter(status.values()), None)
        metadata = answer.get("metadata") if isinstance(answer, dict) else None
        reason = metadata.get("failure_reason") if isinstance(metadata, dict) else None
        return JobStatus.parse(status), failure_text(reason)

    def iter_jobs(self) -> Iterator[Job]:
        """Yield jobs newest first, page by page; a service without pages sends all in one."""
        cursor: str | None = None
        while True:
            parameters: dict[str, str] = {"limit": str(PAGE_SIZE)}
            if cursor is not None:
                parameters["cursor"] = cursor
            answer = self._json("list-jobs", parameters)
            jobs = answer.get("jobs") if isinstance(answer, dict) else None
            if not isinstance(jobs, list):
                raise ServiceError(f"{self.place} sent a list of jobs that is not understood.")
            for job in (Job.from_api(data) for data in jobs if isinstance(data, dict)):
                self._on_job(job)
                yield job
            following = answer.get("next_cursor")
            if not isinstance(following, str) or not following or following == cursor or not jobs:
                return
            cursor = following

    # --- results ------------------------------------------------------------------------------

    def open_results(self, request: ResultsRequest) -> requests.Response:
        """Open ``GET jobs/{id}/results``; the body is not read yet.

        The format travels as ``result_format`` on the older API and as ``format`` on deployments; when
        the service refuses the parameters, the other name is tried once and remembered.
        """
        route = f"jobs/{_segment(request.job_id)}/results"
        try:
            return self._open(route, self._results_parameters(request), request.job_id)
        except ServiceError as refusal:
            if refusal.status_code not in PARAMETER_REFUSED:
                raise
            tried, other = self._format_parameter, _OTHER_FORMAT_PARAMETER[self._format_parameter]
            self._format_parameter = other
            try:
                return self._open(route, self._results_parameters(request), request.job_id)
            except ServiceError as again:
                self._format_parameter = tried
                if again.status_code in PARAMETER_REFUSED:
                    raise refusal from None
                raise

    def sign_artifact(self, request: ResultsRequest) -> SignedArtifact:
        """Ask ``results-url`` for a signed URL of the Parquet artifact.

        Raises
        ------
        JobNotFoundError
            For an unknown job, and where the deployment has no such route.
        """
        parameters = self._column_parameters(request) | {"format": "parquet"}
        route = f"jobs/{_segment(request.job_id)}/results-url"
        answer = self._json(route, parameters, job_id=request.job_id, optional=True)
        url = _take_url(answer)
        if url is None:
            raise ServiceError(f"{self.place} answered `results-url` without a URL.")
        self._check_storage_url(url)
        return SignedArtifact(url=url)

    def open_artifact(self, artifact: SignedArtifact) -> requests.Response:
        """Open a signed URL, without the API key: the signature is the credential."""
        return self._transport.get(
            artifact.url, {}, auth=no_auth, stream=True, retry=self.retry, read_seconds=READ_SECONDS
        )

    def _results_parameters(self, request: ResultsRequest) -> dict[str, str]:
        return {self._format_parameter: request.format} | self._column_parameters(request)

    def _column_parameters(self, request: ResultsRequest) -> dict[str, str]:
        return {
            "include_inputs": str(request.inputs).lower(),
            "include_cumulative_logprobs": str(request.logprobs).lower(),
        }

    # --- plumbing -----------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """The deployment, for messages."""
        return self.credentials.base_url.removesuffix("/v1")

    def _open(self, route: str, parameters: Mapping[str, str], job_id: str) -> requests.Response:
        response = self._ask(route, parameters, stream=True)
        self._raise_for_status(response, job_id)
        return response

    def _json(
        self,
        route: str,
        parameters: Mapping[str, str] | None = None,
        *,
        job_id: str = "",
        retry: RetryPolicy | None = None,
        read_seconds: float = READ_SECONDS,
        optional: bool = False,
    ) -> Any:
        response = self._ask(
            route,
            parameters or {},
            stream=False,
            retry=retry or self.retry,
            read_seconds=read_seconds,
            optional=optional,
        )
        self._raise_for_status(response, job_id)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise ServiceError(
                f"{self.place} answered with {what_it_looks_like(response.content)} instead of JSON.",
                hint="Check SUTRO_API_URL, and whether a proxy or a login page stands before the service.",
                status_code=response.status_code,
            ) from None

    def _ask(
        self,
        route: str,
        parameters: Mapping[str, str],
        *,
        stream: bool,
        retry: RetryPolicy | None = None,
        read_seconds: float = READ_SECONDS,
        optional: bool = False,
    ) -> requests.Response:
        """Ask the deployment for a route; raise no error for its status.

        A deployment serves its routes under ``/v1``. One that answers 404 there, and has not answered
        anything else yet, is asked once without: that is how the results page writes its route. For an
        ``optional`` route, which not every deployment has, a 404 says nothing.
        """

        def send(base: str) -> requests.Response:
            return self._transport.get(
                Secret(f"{base}/{route}"),
                parameters,
                auth=self._auth(),
                stream=stream,
                retry=retry or self.retry,
                read_seconds=read_seconds,
            )

        response = send(self._base)
        if response.status_code != NOT_FOUND:
            self._base_is_known = True
        elif not self._base_is_known and not optional:
            bare = self._base.removesuffix("/v1")
            other = send(bare)
            page = other.headers.get("Content-Type", "").startswith("text/html")
            if other.status_code == NOT_FOUND or page:
                other.close()
                return response
            response.close()
            self._base, self._base_is_known = bare, True
            return other
        return response

    def _auth(self) -> KeyAuth:
        if self.credentials.key is None:
            raise ConfigurationError(f"No API key for {self.place}.", hint=WHERE_KEYS_COME_FROM)
        return KeyAuth(self.credentials.key)

    def _check_storage_url(self, url: Secret) -> None:
        scheme = urlsplit(url.reveal()).scheme
        if scheme != "https" and not (scheme == "http" and self.credentials.is_loopback):
            raise ServiceError(
                f"{self.place} sent a download address that is not https; it was not followed.",
                hint="Try --format csv, which does not use it.",
            )

    def _raise_for_status(self, response: requests.Response, job_id: str) -> None:
        code = response.status_code
        if code < 400:  # noqa: PLR2004 - where HTTP errors begin
            return
        said = error_text(response)
        response.close()
        if self.credentials.key is not None:  # some proxies repeat the headers they were sent
            said = said.replace(self.credentials.key.reveal(), "***")
        if code in {401, 403}:
            raise self._key_refused(code)
        if code == NOT_FOUND and (not job_id or said.startswith(AN_HTML_PAGE)):
            raise ServiceError(
                f"{self.place} does not look like a Sutro deployment: it has no such page (404).",
                hint="Check SUTRO_API_URL, or %sutro_login --url with the right address.",
                status_code=code,
            )
        if code == NOT_FOUND:
            raise JobNotFoundError(
                f"{self.place} knows no job {shorten(job_id)!r}.",
                job_id=job_id,
                hint="%sutro_jobs lists the jobs of this key.",
            )
        if code == 410:  # noqa: PLR2004
            raise ServiceGoneError(
                f"{self.place} no longer serves jobs (410).",
                hint="Set SUTRO_API_URL to your own deployment and SUTRO_API_KEY to a key of it.",
                status_code=code,
            )
        raise ServiceError(
            f"{self.place} answered {code}" + (f": {said}" if said else "."),
            hint=_ADVICE.get(code, "Try again; if it stays, the service's operator needs to know."),
            status_code=code,
        )

    def _key_refused(self, code: int) -> AuthenticationError:
        return AuthenticationError(
            f"{self.place} refused the API key ({code}); the key came from {self.credentials.source}.",
            hint=WHERE_KEYS_COME_FROM,
        )


_OTHER_FORMAT_PARAMETER = {"format": "result_format", "result_format": "format"}

_ADVICE = {
    429: "Too many requests: wait a minute, then run the cell again.",
    502: "A proxy before the service failed: run the cell again in a moment.",
    503: "The service is busy or starting: run the cell again in a moment.",
    504: "The service took too long: run the cell again in a moment.",
    524: "The service took too long: run the cell again in a moment.",
}


def error_text(response: requests.Response, limit: int = 200) -> str:
    """Say what an error body says, in any of the shapes the service's generations use."""
    sent = beginning(response)
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        return "an HTML page." if is_html(sent) else ""
    if not isinstance(body, dict):
        return ""
    for name in ("detail", "message", "error", "details"):
        said = body.get(name)
        if isinstance(said, list):  # validation errors of FastAPI: a list of {"loc", "msg", "type"}
            said = "; ".join(str(item.get("msg")) for item in said if isinstance(item, dict))
        if isinstance(said, str) and said:
            return shorten(" ".join(said.split()), limit)
    return ""


def _take_url(answer: object) -> Secret | None:
    urls = answer.pop("urls", None) if isinstance(answer, dict) else None
    url = urls.get("get") if isinstance(urls, dict) else None
    return Secret(url) if isinstance(url, str) else None


def _segment(job_id: str) -> str:
    return quote(job_id, safe="")
