"""What can be wrong with what a peer sent.

Invalid
 ├── FrameBroken         a length that is none, or too large; where the next frame begins is lost
 ├── Malformed           a frame that is not what its header says
 ├── ApiUnknown          an API that we do not serve
 └── VersionUnsupported  one that we do, in a version that we do not

Of the last two the header was understood. Only ApiVersions has an answer for its own unsupported
version (one of version 0); every other connection that gets here is closed.
"""

from bastide.base.errors import Invalid
from bastide.engines.log.wire.codec.api import Api


class FrameBroken(Invalid):
    def __init__(self, size_bytes: int, frame_bytes_max: int) -> None:
        message = f"a frame of {size_bytes} bytes; 0 to {frame_bytes_max} are allowed"
        super().__init__(message, size_bytes=size_bytes, frame_bytes_max=frame_bytes_max)


class Malformed(Invalid):
    pass


class ApiUnknown(Invalid):
    def __init__(self, api_key: int, version: int, correlation_id: int) -> None:
        super().__init__(f"there is no API {api_key} here", api_key=api_key, version=version)
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id


class VersionUnsupported(Invalid):
    def __init__(self, api: Api, version: int, correlation_id: int) -> None:
        served = f"{api.version_min} to {api.version_max} are served"
        message = f"{api.name} in version {version}; {served}"
        super().__init__(message, api_key=api.key, version=version)
        self.api = api
        self.version = version
        self.correlation_id = correlation_id
