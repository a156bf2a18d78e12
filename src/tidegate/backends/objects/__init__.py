# SPDX-License-Identifier: Apache-2.0
"""Files in object storage: one backend over `bucket.Bucket`, and one module for each service that is one.

May import: `abc`, `errors`, `model`, `resources`. Client libraries of services are extras (``tidegate[s3]``),
imported when the first root of their kind is built.
"""
