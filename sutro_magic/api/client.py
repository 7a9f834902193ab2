"""HTTP API of the service: requests, retries and actionable errors.

Supports both generations: ``https://api.sutro.sh/jobs/...`` and ``<deployment>/v1/jobs/...``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sutro_magic import limits
from sutro_magic.api.credentials import WHERE_KEYS_COME_FROM, Secret
from sutro_magic.api.redaction import KeyAuth, no_auth
from sutro_magic.api.responses import (
    AN_HTML_PAGE,
    advice,
    content_length,
    error_text,
    retry_after,
    what_it_looks_like,
)
from sutro_magic.api.retry import RetryBudget, RetryPolicy
from sutro_magic.api.transport import Transport
from sutro_magic.api.url_guard import Guard
from sutro_magic.errors import (
    AuthenticationError,
    ConfigurationError,
    Hint,
    JobNotFoundError,
    ServiceError,
    ServiceGoneError,
    shorten,
)
from sutro_magic.models import Job, JobStatus, ResultsRequest, failure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

    from sutro_magic.api.credentials import Credentials

    OnRetry = Callable[[str], None]

PAGE_SIZE = 100  # the largest `limit` of list-jobs
CHECK_ROUTES = ("auth/check", "try-authentication")
OK = 200
NOT_FOUND = 404
UNSATISFIABLE = 416
PARAMETER_REFUSED = frozenset({400, 422})


@dataclass(frozen=True, kw_only=True)
class SignedArtifact:
    """A Parquet artifact behind signed URLs. They are secrets until they expire.

    Attributes
    ----------
    url : Secret
        Signed for GET; must be requested without the API key.
    head : Secret or None
        Signed for HEAD, if the service sends one.
    """

    url: Secret
    head: Secret | None = None


class Client:
    """Client of one deployment with one API key. Thread-safe.

    Parameters
    ----------
    credentials : Credentials
    retry : RetryPolicy, optional
    on_retry : callable, optional
        Called with a short reason before a failed request is retried.
    on_job : callable, optional
        Called with each job that the service describes.
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
        # A proxy is for other hosts, not for a service on this machine.
        proxies = not credentials.is_loopback
        self._storage = Transport(trust_env=proxies, guard=Guard(credentials))
        self._transport = Transport(trust_env=proxies, elsewhere=self._storage)
        self._on_retry = on_retry

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()
        self._storage.close()

    def retry_budget(self, on_retry: OnRetry | None = None) -> RetryBudget:
        """Return a new retry budget for one operation, shared by all its requests."""
        return RetryBudget(self.retry, on_retry or self._on_retry)

    # --- jobs ---------------------------------------------------------------------------------

    def check_key(self) -> None:
        """Raise `AuthenticationError` if the deployment does not accept the key."""
        for route in CHECK_ROUTES:
            try:
                answer = self._json(route, optional=True)
            except ServiceError as error:
                if error.status_code == NOT_FOUND and route == CHECK_ROUTES[0]:
                    continue  # older deployments have only the second route
                raise
            if not (isinstance(answer, dict) and answer.get("authenticated") is True):
                raise self._key_refused(401)
            return

    def get_job(self, job_id: str, *, best_effort: bool = False, budget: RetryBudget | None = None) -> Job:
        """Return one job.

        Parameters
        ----------
        job_id : str
        best_effort : bool
            Make one attempt with a short time-out, for optional details.
        budget : RetryBudget, optional
            Retry budget of the enclosing operation.

        Raises
        ------
        JobNotFoundError
        """
        budget = RetryBudget(RetryPolicy(tries=1)) if best_effort else budget
        timeout = 5.0 if best_effort else limits.READ_SECONDS
        answer = self._json(f"jobs/{_segment(job_id)}", job_id=job_id, budget=budget, read_seconds=timeout)
        data = answer.get("job") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise ServiceError(f"{self.place} sent an invalid job object.")
        job = Job.from_api({"job_id": job_id, **data})
        self._on_job(job)
        return job

    def get_status(self, job_id: str, budget: RetryBudget | None = None) -> tuple[JobStatus, str | None]:
        """Return the status of one job and, if it failed, the reason.

        The newer API answers with a map from id to status, the older one with plain text.
        """
        answer = self._json(f"job-status/{_segment(job_id)}", job_id=job_id, budget=budget)
        status = answer.get("job_status") if isinstance(answer, dict) else None
        if isinstance(status, dict):
            status = status.get(job_id) or next(iter(status.values()), None)
        metadata = answer.get("metadata") if isinstance(answer, dict) else None
        reason = metadata.get("failure_reason") if isinstance(metadata, dict) else None
        return JobStatus.parse(status), failure_text(reason)

    def iter_jobs(self) -> Iterator[Job]:
        """Yield jobs, newest first, page by page."""
        cursor: str | None = None
        while True:
            jobs, cursor = self.job_page(cursor)
            yield from jobs
            if cursor is None:
                return

    def job_page(
        self, cursor: str | None = None, budget: RetryBudget | None = None
    ) -> tuple[list[Job], str | None]:
        """Return one page of the list of jobs, newest first; a service without pages sends all jobs in one.

        Parameters
        ----------
        cursor : str, optional
            Cursor that came with the previous page; the first page by default.
        budget : RetryBudget, optional
            Retry budget of the enclosing operation.

        Returns
        -------
        (list of Job, str or None)
            At most `PAGE_SIZE` jobs if the service has pages, and the cursor of the next page, if any.
        """
        parameters: dict[str, str] = {"limit": str(PAGE_SIZE)}
        if cursor is not None:
            parameters["cursor"] = cursor
        answer = self._json("list-jobs", parameters, budget=budget)
        jobs = answer.get("jobs") if isinstance(answer, dict) else None
        if not isinstance(jobs, list):
            raise ServiceError(f"{self.place} sent an invalid list of jobs.")
        following = answer.get("next_cursor")
        if not isinstance(following, str) or not following or following == cursor or not jobs:
            following = None
        page = [Job.from_api(data) for data in jobs if isinstance(data, dict)]
        for job in page:
            self._on_job(job)
        return page, following

    def open_progress(self, job_id: str) -> requests.Response:
        """Open ``GET stream-job-progress/{id}``, a stream of JSON lines. It is undocumented; the SDK reads it.

        The end of the stream does not mean that the job is done: the stream may break off, or count all rows of a job
        that fails later.
        """
        response = self._ask(
            f"stream-job-progress/{_segment(job_id)}",
            {},
            stream=True,
            budget=RetryBudget(RetryPolicy(tries=1)),
            optional=True,
        )
        self._raise_for_status(response, job_id)
        return response

    # --- results ------------------------------------------------------------------------------

    def open_results(
        self, request: ResultsRequest, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Open ``GET jobs/{id}/results`` in one attempt, without reading the body.

        The format parameter is ``result_format`` on the older API and ``format`` on deployments. If the
        service refuses the parameters, the other name is tried once and remembered.
        """
        route = f"jobs/{_segment(request.job_id)}/results"
        name = self._format_parameter
        try:
            return self._open(route, self._results_parameters(request, name), request.job_id, headers)
        except ServiceError as refusal:
            if refusal.status_code not in PARAMETER_REFUSED:
                raise
            other = _OTHER_FORMAT_PARAMETER[name]
            try:
                response = self._open(
                    route, self._results_parameters(request, other), request.job_id, headers
                )
            except ServiceError as again:
                if again.status_code in PARAMETER_REFUSED:
                    raise refusal from None
                raise
            self._format_parameter = other
            return response

    def sign_artifact(self, request: ResultsRequest, budget: RetryBudget | None = None) -> SignedArtifact:
        """Request signed URLs of the Parquet artifact from ``results-url``.

        Raises
        ------
        JobNotFoundError
            If the job is unknown or the deployment has no such route.
        """
        parameters = self._column_parameters(request) | {"format": "parquet"}
        route = f"jobs/{_segment(request.job_id)}/results-url"
        answer = self._json(route, parameters, job_id=request.job_id, budget=budget, optional=True)
        url, head = _take_urls(answer)
        if url is None:
            raise ServiceError(f"{self.place} sent no URL for `results-url`.")
        return SignedArtifact(url=url, head=head)

    def open_artifact(
        self, artifact: SignedArtifact, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Open a signed URL in one attempt, without the API key: the signature is the credential.

        Raises
        ------
        ServiceError
            If the URL leads to a forbidden address; nothing is sent in that case.
        """
        return self._storage.once("GET", artifact.url, auth=no_auth, stream=True, headers=headers)

    def artifact_length(self, artifact: SignedArtifact) -> int | None:
        """Return the size of an artifact in bytes, or None if the storage does not report it."""
        if artifact.head is None:
            return None
        try:
            response = self._storage.once("HEAD", artifact.head, auth=no_auth, stream=True)
        except ServiceError:
            return None
        response.close()
        return content_length(response) if response.status_code == OK else None

    def _results_parameters(self, request: ResultsRequest, name: str) -> dict[str, str]:
        return {name: request.format} | self._column_parameters(request)

    def _column_parameters(self, request: ResultsRequest) -> dict[str, str]:
        return {
            "include_inputs": str(request.inputs).lower(),
            "include_cumulative_logprobs": str(request.logprobs).lower(),
        }

    # --- requests -----------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """The deployment's address, for messages."""
        return self.credentials.base_url.removesuffix("/v1")

    def _open(
        self, route: str, parameters: Mapping[str, str], job_id: str, headers: Mapping[str, str] | None
    ) -> requests.Response:
        response = self._ask(route, parameters, stream=True, headers=headers)
        if not (headers and "Range" in headers and response.status_code == UNSATISFIABLE):
            self._raise_for_status(response, job_id)
        return response

    def _json(
        self,
        route: str,
        parameters: Mapping[str, str] | None = None,
        *,
        job_id: str = "",
        budget: RetryBudget | None = None,
        read_seconds: float = limits.READ_SECONDS,
        optional: bool = False,
    ) -> Any:
        response = self._ask(
            route,
            parameters or {},
            stream=False,
            budget=budget or self.retry_budget(),
            read_seconds=read_seconds,
            optional=optional,
        )
        self._raise_for_status(response, job_id)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise ServiceError(
                f"{self.place} sent {what_it_looks_like(response.content)} instead of JSON.",
                hint="Check SUTRO_API_URL, and whether a proxy or a login page answers instead of the service.",
                status_code=response.status_code,
            ) from None

    def _ask(
        self,
        route: str,
        parameters: Mapping[str, str],
        *,
        stream: bool,
        budget: RetryBudget | None = None,
        read_seconds: float = limits.READ_SECONDS,
        optional: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request to a route of the deployment, once or within a retry budget; do not check the status.

        Deployments serve their routes under ``/v1``. If a deployment has answered nothing but 404 so far, the
        route is tried once without ``/v1``, as the results page writes it. A 404 for an ``optional`` route, which
        not every deployment has, proves nothing.
        """

        def send(base: str) -> requests.Response:
            url, auth = Secret(f"{base}/{route}"), self._auth()
            if budget is None:
                return self._transport.once(
                    "GET",
                    url,
                    parameters,
                    auth=auth,
                    stream=stream,
                    read_seconds=read_seconds,
                    headers=headers,
                )
            return self._transport.get(
                url, parameters, auth=auth, stream=stream, budget=budget, read_seconds=read_seconds
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

    def _raise_for_status(self, response: requests.Response, job_id: str) -> None:
        code = response.status_code
        if code < 400:  # noqa: PLR2004 - where HTTP errors begin
            return
        detail = error_text(response, self.credentials.key)
        response.close()
        if code in {401, 403}:
            raise self._key_refused(code)
        if code == NOT_FOUND and (not job_id or detail.startswith(AN_HTML_PAGE)):
            raise ServiceError(
                f"{self.place} does not look like a Sutro deployment: the route was not found (404).",
                hint=("Check SUTRO_API_URL, or ", Hint("login", url=None), " with the right address."),
                status_code=code,
            )
        if code == NOT_FOUND:
            raise JobNotFoundError(
                f"{self.place} has no job {shorten(job_id)!r}.",
                job_id=job_id,
                hint=(Hint("jobs"), " lists the jobs of this key."),
            )
        if code == 410:  # noqa: PLR2004
            raise ServiceGoneError(
                f"{self.place} no longer serves jobs (410).",
                hint=(
                    Hint("login", url=None),
                    " with the address of your own deployment; or set SUTRO_API_URL and SUTRO_API_KEY.",
                ),
                status_code=code,
            )
        raise ServiceError(
            f"{self.place} answered {code}" + (f": {detail}" if detail else "."),
            hint=advice(code),
            status_code=code,
            retry_after=retry_after(response),
        )

    def _key_refused(self, code: int) -> AuthenticationError:
        return AuthenticationError(
            f"{self.place} refused the API key ({code}); the key came from {self.credentials.source}.",
            hint=WHERE_KEYS_COME_FROM,
        )


_OTHER_FORMAT_PARAMETER = {"format": "result_format", "result_format": "format"}


def _take_urls(answer: object) -> tuple[Secret | None, Secret | None]:
    urls = answer.pop("urls", None) if isinstance(answer, dict) else None
    found = [urls.get(name) if isinstance(urls, dict) else None for name in ("get", "head")]
    get, head = (Secret(url) if isinstance(url, str) and url else None for url in found)
    return get, head


def _segment(job_id: str) -> str:
    return quote(job_id, safe="")
