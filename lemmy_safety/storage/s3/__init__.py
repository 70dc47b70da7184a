"""Buckets on S3-compatible servers, through boto3.

``storage`` implements the contract, ``client`` is the connection, ``listing`` lists a large bucket over several
connections, ``errors`` explains botocore's exceptions and servers' answers.
"""

from lemmy_safety.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]
