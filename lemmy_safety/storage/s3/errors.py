"""Translates errors of boto3 and S3 servers into those of ``lemmy_safety.errors``.

Servers answer with a code (or, if an answer has no body, with the bare HTTP status); botocore raises its own classes
for everything that happens before an answer. Both are looked up in tables, and a test finds botocore exceptions
that no table names. Messages hold the server's code, never a credential.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import TYPE_CHECKING

import botocore.exceptions as boto
from boto3.exceptions import Boto3Error
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError as UrllibError

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    HostUnknown,
    LoginRefused,
    ObjectChanged,
    ObjectGone,
    SettingsError,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.proxies import Proxy, causes, refusal_of_tunnel, variable_of, variables_that_name

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Everything boto3 lets through, from building a request to reading the last byte of a body. OSError and the classes of
#: urllib3 and http.client come from a body that breaks off: botocore translates only some of them.
VENDOR_ERRORS = (
    boto.ClientError,
    boto.BotoCoreError,
    Boto3Error,
    ResponseParserError,
    UrllibError,
    http.client.HTTPException,
    OSError,
)

#: What parsing raises for an answer in another form than boto3 expects: an invalid date, a missing field. Only
#: boto3's calls and the reading of their answers run inside ``translated``.
ANSWER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)

_LOGIN_HINT = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_CLOCK_HINT = "Set this machine's clock; S3 refuses requests that are more than 15 minutes off."
_BUCKET_HINT = "Check PICTRS_BUCKET; pict-rs calls it bucket_name."
_AWS_FILES_HINT = "Check the AWS files in ~/.aws and the AWS_* environment variables."
_ENDPOINT_HINT = "Check OBJECT_STORAGE_ENDPOINT; it is the S3 server's URL, such as https://eu2.example.com."

_CERTIFICATES_HINT = "Correct or unset AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE, or ca_bundle in the AWS files."

#: Server's code -> our class, with a hint if the class's own is not good enough.
#: Sources: AWS's list of S3 error codes; the sources of Swift s3api, Ceph radosgw, MinIO and Garage.
CODES: dict[str, tuple[type[StorageError], str | None]] = {
    **dict.fromkeys(
        (
            "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity", "NotSignedUp", "AccountProblem",
            "Unauthorized", "UnauthorizedAccess", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
            "MissingSecurityHeader", "XAmzContentSHA256Mismatch", "401",
        ),
        (LoginRefused, _LOGIN_HINT),
    ),
    **dict.fromkeys(
        ("InvalidToken", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
        (LoginRefused, "Get a new AWS_SESSION_TOKEN, or leave it empty if the keys are permanent."),
    ),
    "AuthorizationHeaderMalformed": (LoginRefused, "Check AWS_DEFAULT_REGION; the server did not say which it wants."),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired", "AccessDeniedExpired"), (LoginRefused, _CLOCK_HINT)),
    **dict.fromkeys(
        ("AccessDenied", "AllAccessDisabled", "Forbidden", "403", "MethodNotAllowed", "405"),
        (AccessDenied, None),
    ),
    **dict.fromkeys(
        ("FileImmutable", "ObjectLocked", "BlobImmutableDueToPolicy"),
        (AccessDenied, "A retention rule or object lock protects it; it can be deleted when that ends."),
    ),
    **dict.fromkeys(("NotImplemented", "501"), (StorageError, "The server does not offer this.")),
    **dict.fromkeys(
        ("QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded", "XMinioAdminBucketQuotaExceeded", "507"),
        (StorageFull, None),
    ),
    "InvalidObjectState": (AccessDenied, "The object is archived (Glacier); restore it first."),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName"), (StorageMissing, _BUCKET_HINT)),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "NotFound", "404", "410"), (ObjectGone, None)),
    **dict.fromkeys(
        ("KeyTooLongError", "KeyTooLong", "InvalidObjectName", "XMinioInvalidObjectName", "InvalidURI", "414"),
        (BadKey, None),
    ),
    **dict.fromkeys(("PreconditionFailed", "ConditionalRequestConflict", "412", "409"), (ObjectChanged, None)),
    **dict.fromkeys(
        (
            "InternalError", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout",
            "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequests", "RequestLimitExceeded",
            "BandwidthLimitExceeded", "OperationAborted", "XMinioServerNotInitialized", "IncompleteBody", "408", "429",
        ),
        (StorageUnreachable, None),
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "Redirect", "301", "302", "307", "308"),
        (StorageError, f"The server sends requests elsewhere. {_ENDPOINT_HINT}"),
    ),
}  # fmt: skip

#: botocore's class -> ours; the first match in the class's MRO.
CLASSES: dict[type[Exception], tuple[type[StorageError | SettingsError], str | None]] = {
    boto.SSLError: (StorageUnreachable, "The server's certificate is not accepted, or it does not speak TLS there."),
    boto.ProxyConnectionError: (StorageUnreachable, "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY."),  # see _from_proxy
    **dict.fromkeys(
        (
            boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, boto.ChecksumError,
            boto.FlexibleChecksumError, boto.AwsChunkedWrapperError, boto.CapacityNotAvailableError,
            boto.UnseekableStreamError,
        ),
        (StorageUnreachable, None),
    ),
    **dict.fromkeys(
        (
            boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError,
            boto.MetadataRetrievalError, boto.UnknownCredentialError, boto.NoAuthTokenError, boto.SSOError,
            boto.LoginError, boto.TokenRetrievalError, boto.UnknownTokenProviderError,
            boto.RefreshWithMFAUnsupportedError, boto.InvalidIMDSEndpointError, boto.InvalidIMDSEndpointModeError,
        ),
        (LoginRefused, f"{_LOGIN_HINT} Without them boto3's own places are asked (profile, role)."),
    ),
    boto.ProfileNotFound: (LoginRefused, "Correct or unset AWS_PROFILE."),
    **dict.fromkeys(
        (
            boto.InvalidDNSNameError, boto.InvalidHostLabelError, boto.UnsupportedOutpostResourceError,
            boto.UnsupportedS3AccesspointConfigurationError, boto.UnsupportedS3ArnError,
            boto.UnsupportedS3ControlArnError,
        ),
        (StorageMissing, _BUCKET_HINT),
    ),
    **dict.fromkeys((boto.ParamValidationError, boto.MissingParametersError), (BadKey, None)),
    **dict.fromkeys(
        (
            boto.NoRegionError, boto.InvalidRegionError, boto.UnknownRegionError, boto.ServiceNotInRegionError,
        ),
        (SettingsError, "Check AWS_DEFAULT_REGION; auto asks the server."),
    ),
    **dict.fromkeys(
        (boto.BaseEndpointResolverError, boto.EndpointProviderError, boto.InvalidEndpointConfigurationError),
        (StorageError, _ENDPOINT_HINT),
    ),
    **dict.fromkeys(
        (
            boto.ConfigNotFound, boto.ConfigParseError, boto.InvalidConfigError, boto.InvalidDefaultsMode,
            boto.InvalidChecksumConfigError, boto.InvalidEndpointDiscoveryConfigurationError,
            boto.InvalidProxiesConfigError, boto.InvalidRetryConfigurationError, boto.InvalidS3AddressingStyleError,
            boto.InvalidS3UsEast1RegionalEndpointConfigError, boto.InvalidSTSRegionalEndpointsConfigError,
            boto.UnsupportedS3ConfigurationError, boto.UnsupportedS3ControlConfigurationError,
        ),
        (SettingsError, _AWS_FILES_HINT),
    ),
    # The installation itself is broken: files of botocore are missing or do not fit together.
    **dict.fromkeys(
        (
            boto.DataNotFoundError, boto.MissingDependencyException, boto.MD5UnavailableError,
            boto.ApiVersionNotFoundError, boto.UnknownServiceStyle, boto.UnknownSignatureVersionError,
            boto.UnsupportedSignatureVersionError, boto.UnsupportedServiceProtocolsError,
            boto.UnknownClientMethodError, boto.OperationNotPageableError, boto.InvalidExpressionError,
            boto.ValidationError, boto.PaginationError, boto.WaiterError, boto.WaiterConfigError,
            boto.StubResponseError,
        ),
        (StorageError, "Reinstall boto3 and botocore in versions that belong together."),
    ),
}  # fmt: skip


@contextlib.contextmanager
def translated(place: str, key: str | None = None) -> Iterator[None]:
    """Turn whatever boto3 raises inside into our errors. ``place`` names bucket and server, ``key`` the object."""
    try:
        yield
    except (*VENDOR_ERRORS, *ANSWER_ERRORS) as error:
        raise storage_error(error, place, key) from error


def storage_error(error: Exception, place: str, key: str | None = None) -> StorageError | SettingsError:
    """Our error for one of ``VENDOR_ERRORS`` or ``ANSWER_ERRORS``."""
    subject = place if key is None else f"{key!r} in {place}"
    if isinstance(error, boto.ClientError):
        return _from_answer(error, subject, key)
    if isinstance(error, boto.ProxyConnectionError):
        return _from_proxy(error, subject)
    if (found := _by_cause(error, place, subject)) is not None:
        return found
    if isinstance(error, ResponseParserError) or not isinstance(error, VENDOR_ERRORS):
        return StorageError(f"{subject}: the answer is not one of an S3 server.", hint=_ENDPOINT_HINT)
    if isinstance(error, boto.ParamValidationError) and key is None:
        return StorageMissing(f"{place}: that is not a bucket name.", hint=_BUCKET_HINT)
    kind, hint = next(
        (CLASSES[base] for base in type(error).__mro__ if base in CLASSES),
        # Not botocore's: a broken connection, as the operating system or urllib3 names it.
        (StorageError, None) if isinstance(error, boto.BotoCoreError) else (StorageUnreachable, None),
    )
    return kind(f"{subject}: {_reason(error)}", hint=hint)


def _from_answer(error: boto.ClientError, subject: str, key: str | None) -> StorageError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", "") or "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        # Only without TLS can the proxy's answer look like the server's.
        proxy = Proxy(variable_of("http"), "")
        return LoginRefused(f"{subject}: the proxy in {proxy.variable} wants a login (407).", hint=proxy.login_hint)
    kind, hint = CODES.get(code) or CODES.get(str(status)) or (_by_status(status), None)
    if kind is ObjectGone and key is None:
        kind, hint = StorageMissing, _BUCKET_HINT
    if kind is LoginRefused:
        # The server's own words may repeat the access key.
        return kind(f"{subject}: the server refused the login ({foreign(code or status)}).", hint=hint)
    words = " ".join(foreign(answer.get("Message", "") or "").split())[:200]
    return kind(f"{subject}: the server answered {foreign(code or status)}{f' ({words})' if words else ''}.", hint=hint)


def _from_proxy(error: boto.ProxyConnectionError, subject: str) -> StorageError:
    """An error before the server was reached is not the server's fault."""
    url = str(error.kwargs.get("proxy_url", ""))
    proxy = Proxy(variables_that_name(url), url)
    inner = _inner(error)
    if status := refusal_of_tunnel(inner):
        refusal = proxy.refusal(status)
        if status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return LoginRefused(f"{subject}: {refusal}.", hint=proxy.login_hint)
        return StorageUnreachable(f"{subject}: {refusal}.", hint=proxy.hint)
    kind = HostUnknown if _name_does_not_resolve(error) else StorageUnreachable
    return kind(f"{subject}: {proxy.failure(inner)}.", hint=proxy.hint)


def _by_cause(error: Exception, place: str, subject: str) -> StorageError | None:
    """Our error by its cause, if the error's class is too wide."""
    if _name_does_not_resolve(error):
        return HostUnknown(f"The host name of {place} does not resolve.", hint=_ENDPOINT_HINT)
    if isinstance(error, boto.SSLError) and (why := _certificates_fault(error)):
        return StorageError(f"{subject}: the file with certificates cannot be used: {why}.", hint=_CERTIFICATES_HINT)
    return None


def _by_status(status: int) -> type[StorageError]:
    return StorageUnreachable if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR else StorageError


def _name_does_not_resolve(error: Exception) -> bool:
    """Whether the resolver reported that; 'try again later' (EAI_AGAIN) is a temporary fault."""
    found = next((cause for cause in causes(_inner(error)) if isinstance(cause, socket.gaierror)), None)
    return found is not None and found.errno != socket.EAI_AGAIN


def _certificates_fault(error: Exception) -> str | None:
    """Why the file of trusted authorities, loaded while connecting, cannot be used; None if it can."""
    for cause in causes(_inner(error)):
        if isinstance(cause, ssl.SSLError):
            return "it holds none" if cause.reason == "NO_CERTIFICATE_OR_CRL_FOUND" else None
        if isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError):
            return str(cause.strerror)
    return None


def _inner(error: Exception) -> Exception:
    """The error that botocore wrapped; some of its errors keep it in a place of their own."""
    found = error.kwargs.get("error") if isinstance(error, boto.BotoCoreError) else None
    return found if isinstance(found, Exception) else error


def _reason(error: Exception) -> str:
    return " ".join(foreign(error).split())[:300] or type(error).__name__
