"""image.py OUT NAME ENTRYPOINT FILE:PATH...: an image (OCI layout, one layer) of files of this machine, with the
libraries that they are linked with."""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

out, name, entrypoint, *pairs = sys.argv[1:]


def libraries(path):
    """What the dynamic linker would load for a file, where it is linked so."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True)
    words = listed.stdout.replace("=>", " ").split() if listed.returncode == 0 else []
    return {word for word in words if word.startswith("/") and os.path.exists(word)}


def layer():
    files = dict(reversed(pair.split(":")) for pair in pairs)
    for source in list(files.values()):
        files.update({library: library for library in libraries(source)})
    buffer = io.BytesIO()
    folders = {"tmp", "etc", "proc", "sys", "dev", "run", "policies", "host"}
    for path in files:
        parts = path.strip("/").split("/")[:-1]
        folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, source in sorted(files.items()):
            with open(source, "rb") as file:
                content = file.read()
            entry = tarfile.TarInfo(path.strip("/"))
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


content = layer()
config = json.dumps({
    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
    "os": "linux",
    "config": {"Entrypoint": [entrypoint], "Env": ["PATH=/"]},
    "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
}).encode()
described = lambda kind, blob: {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(blob), "size": len(blob)}
manifest = json.dumps({
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": described("config.v1+json", config),
    "layers": [described("layer.v1.tar", content)],
}).encode()
index = described("manifest.v1+json", manifest) | {"annotations": {"io.containerd.image.name": name}}
with tarfile.open(out, "w") as tar:
    blobs = {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in (content, config, manifest)}
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [index]}).encode()
    for path, blob in blobs.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(blob)
        tar.addfile(entry, io.BytesIO(blob))
