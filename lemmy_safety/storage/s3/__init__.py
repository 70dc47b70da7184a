"""Buckets on S3-compatible servers, through boto3.

``storage`` is the contract fulfilled, ``client`` the connection, ``listing`` how a large bucket is listed over several
connections, ``errors`` what botocore's exceptions and a server's answers mean.
"""

from lemmy_safety.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]
