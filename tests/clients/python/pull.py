"""Pulls an image with PyPI's `oras`.

pull.py HOST CA USER TOKEN NAME: prints the digest that each blob has by those that it should have, as JSON.
"""

import hashlib
import json
import os
import sys
import tempfile

import oras.client
import oras.logger

host, ca, user, token, name = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca
oras.logger.setup_logger(quiet=True)
client = oras.client.OrasClient(hostname=host, auth_backend="basic")
client.auth.set_basic_auth(user, token)
container = client.get_container(f"{host}/{name}")
manifest = client.get_manifest(container)
found = {}
with tempfile.TemporaryDirectory() as folder:
    for part in [manifest["config"], *manifest["layers"]]:
        path = client.download_blob(container, part["digest"], os.path.join(folder, "blob"))
        with open(path, "rb") as file:
            found[part["digest"]] = "sha256:" + hashlib.sha256(file.read()).hexdigest()
print(json.dumps(found))
