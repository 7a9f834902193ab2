"""The HTTP API of the service: requests, retries, and errors a person can act on.

Both generations are spoken: ``https://api.sutro.sh/jobs/...`` and ``<deployment>/v1/jobs/...``.
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
    """A Parquet artifact behind signed URLs, which are secrets while they live.

    Attributes
    ----------
    url : Secret
        Signed for GET; must be asked without the API key.
    head : Secret or None
        Signed for HEAD, where the service gives one.
    """

    url: Secret
    head: Secret | None = None


class Client:
    """One deployment with one key. Threads may share it.

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
        proxies = not credentials.is_loopback
        self._storage = Transport(trust_env=proxies, guard=Guard(credentials))
        self._transport = Transport(trust_env=proxies, elsewhere=self._storage)
        self._on_retry = on_retry

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._transport.close()
        self._storage.close()

    def retry_budget(self, on_retry: OnRetry | None = None) -> RetryBudget:
        """Return the tries that one piece of work has, over all its requests."""
        return RetryBudget(self.retry, on_retry or self._on_retry)

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

    def get_job(self, job_id: str, *, best_effort: bool = False, budget: RetryBudget | None = None) -> Job:
        """Read one job.

        Parameters
        ----------
        job_id : str
        best_effort : bool
            One quick try, for details that are nice to have.
        budget : RetryBudget, optional
            Of the work that this is a part of.

        Raises
        ------
        JobNotFoundError
        """
        budget = RetryBudget(RetryPolicy(tries=1)) if best_effort else budget
        timeout = 5.0 if best_effort else limits.READ_SECONDS
        answer = self._json(f"jobs/{_segment(job_id)}", job_id=job_id, budget=budget, read_seconds=timeout)
        data = answer.get("job") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise ServiceError(f"{self.place} described the job in a way that is not understood.")
        job = Job.from_api({"job_id": job_id, **data})
        self._on_job(job)
        return job

    def get_status(self, job_id: str, budget: RetryBudget | None = None) -> tuple[JobStatus, str | None]:
        """Read the status of one job and, if it failed, the reason.

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
        """Yield jobs newest first, page by page."""
        cursor: str | None = None
        while True:
            jobs, cursor = self.job_page(cursor)
            yield from jobs
            if cursor is None:
                return

    def job_page(
        self, cursor: str | None = None, budget: RetryBudget | None = None
    ) -> tuple[list[Job], str | None]:
        """Read one page of the list of jobs, newest first; a service without pages sends all in one.

        Parameters
        ----------
        cursor : str, optional
            What the page before came with; the first page by default.
        budget : RetryBudget, optional
            Of the work that this is a part of.

        Returns
        -------
        (list of Job, str or None)
            At most `PAGE_SIZE` jobs where the service has pages, and the cursor of the next page.
        """
        parameters: dict[str, str] = {"limit": str(PAGE_SIZE)}
        if cursor is not None:
            parameters["cursor"] = cursor
        answer = self._json("list-jobs", parameters, budget=budget)
        jobs = answer.get("jobs") if isinstance(answer, dict) else None
        if not isinstance(jobs, list):
            raise ServiceError(f"{self.place} sent a list of jobs that is not understood.")
        following = answer.get("next_cursor")
        if not isinstance(following, str) or not following or following == cursor or not jobs:
            following = None
        page = [Job.from_api(data) for data in jobs if isinstance(data, dict)]
        for job in page:
            self._on_job(job)
        return page, following

    def open_progress(self, job_id: str) -> requests.Response:
        """Open ``GET stream-job-progress/{id}``, a stream of JSON lines; no reference describes it, the SDK reads it.

        Its end proves nothing: it may break off, or count all rows of a job that fails later.
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
        """Open ``GET jobs/{id}/results``, in one try; the body is not read yet.

        The format travels as ``result_format`` on the older API and as ``format`` on deployments; when
        the service refuses the parameters, the other name is tried once and remembered.
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
        """Ask ``results-url`` for signed URLs of the Parquet artifact.

        Raises
        ------
        JobNotFoundError
            For an unknown job, and where the deployment has no such route.
        """
        parameters = self._column_parameters(request) | {"format": "parquet"}
        route = f"jobs/{_segment(request.job_id)}/results-url"
        answer = self._json(route, parameters, job_id=request.job_id, budget=budget, optional=True)
        url, head = _take_urls(answer)
        if url is None:
            raise ServiceError(f"{self.place} answered `results-url` without a URL.")
        return SignedArtifact(url=url, head=head)

    def open_artifact(
        self, artifact: SignedArtifact, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Open a signed URL, in one try, without the API key: the signature is the credential.

        Raises
        ------
        ServiceError
            When the URL leads to where no results are; nothing was sent then.
        """
        return self._storage.once("GET", artifact.url, auth=no_auth, stream=True, headers=headers)

    def artifact_length(self, artifact: SignedArtifact) -> int | None:
        """Return the bytes of an artifact, if the storage says so."""
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

    # --- plumbing -----------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """The deployment, for messages."""
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
        budget: RetryBudget | None = None,
        read_seconds: float = limits.READ_SECONDS,
        optional: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Ask the deployment for a route, once or within a retry budget; raise no error for its status.

        A deployment serves its routes under ``/v1``. One that answers 404 there, and has not answered
        anything else yet, is asked once without: that is how the results page writes its route. For an
        ``optional`` route, which not every deployment has, a 404 says nothing.
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
        said = error_text(response, self.credentials.key)
        response.close()
        if code in {401, 403}:
            raise self._key_refused(code)
        if code == NOT_FOUND and (not job_id or said.startswith(AN_HTML_PAGE)):
            raise ServiceError(
                f"{self.place} does not look like a Sutro deployment: it has no such page (404).",
                hint=("Check SUTRO_API_URL, or ", Hint("login", url=None), " with the right address."),
                status_code=code,
            )
        if code == NOT_FOUND:
            raise JobNotFoundError(
                f"{self.place} knows no job {shorten(job_id)!r}.",
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
            f"{self.place} answered {code}" + (f": {said}" if said else "."),
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
