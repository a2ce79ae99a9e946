"""The build backend of piw's samples: the standard library alone, so that they build with no index in reach.

PEP 517's hooks, for three kinds of project, by what [tool.piw-sample] in pyproject.toml says: a pure package, and
one with a C extension, which is compiled with the compiler that this Python was.
"""

import base64
import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import zipfile


def _project():
    """name, version and kind, from the three lines that every sample's pyproject.toml has."""
    found = {}
    with open("pyproject.toml", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition("=")
            if key.strip() in ("name", "version", "kind", "build"):
                found[key.strip()] = value.strip().strip('"')
    return found


def _tag(kind):
    if kind == "pure":
        return "py3-none-any"
    abi = "cp%d%d" % sys.version_info[:2]
    if sys.implementation.name == "pypy":
        abi = "pypy%d%d_pp%d%d" % (sys.version_info[:2] + sys.pypy_version_info[:2])
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        abi += "t"
    python = ("pp%d%d" if sys.implementation.name == "pypy" else "cp%d%d") % sys.version_info[:2]
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if sys.maxsize <= 2**32:
        # A 32-bit Python under a 64-bit kernel, as on many a Raspberry Pi.
        platform = {"linux_x86_64": "linux_i686", "linux_aarch64": "linux_armv7l"}.get(platform, platform)
    return "-".join((python, abi, platform))


def _compile(module, folder):
    out = os.path.join(folder, module + sysconfig.get_config_var("EXT_SUFFIX"))
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = shlex.split(compiler) + ["-shared", "-fPIC", "-O2", "-I" + sysconfig.get_paths()["include"]]
    if sys.platform == "darwin":
        command += ["-undefined", "dynamic_lookup"]
    command += [module + ".c", "-o", out]
    print(" ".join(command), flush=True)
    subprocess.check_call(command)
    return out


def _metadata(project):
    return (
        "Metadata-Version: 2.1\nName: %s\nVersion: %s\nSummary: A sample that ships with piw\n"
        "Requires-Python: >=3.9\n" % (project["name"], project["version"])
    ).encode()


def _info(project):
    return "%s-%s.dist-info" % (project["name"].replace("-", "_"), project["version"])


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    project = _project()
    os.mkdir(os.path.join(metadata_directory, _info(project)))
    with open(os.path.join(metadata_directory, _info(project), "METADATA"), "wb") as file:
        file.write(_metadata(project))
    return _info(project)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    project = _project()
    name, version, kind = project["name"].replace("-", "_"), project["version"], project["kind"]
    tag = _tag(kind)
    build = "-" + project["build"] if "build" in project else ""
    info = _info(project)
    files = {}
    if kind == "native":
        with tempfile.TemporaryDirectory() as folder:
            path = _compile(name, folder)
            with open(path, "rb") as file:
                files[os.path.basename(path)] = file.read()
    else:
        with open(name + ".py", "rb") as file:
            files[name + ".py"] = file.read()
    files[info + "/METADATA"] = _metadata(project)
    files[info + "/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: piw-sample\nRoot-Is-Purelib: %s\n%sTag: %s\n"
        % ("true" if kind == "pure" else "false", "Build: %s\n" % project["build"] if build else "", tag)
    ).encode()
    record = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append("%s,sha256=%s,%d" % (path, digest, len(data)))
    record.append(info + "/RECORD,,")
    files[info + "/RECORD"] = ("\n".join(record) + "\n").encode()
    wheel = "%s-%s%s-%s.whl" % (name, version, build, tag)
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        for path, data in files.items():
            # The time is zip's first: a pure wheel has the same bytes wherever and whenever it is built.
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("the samples are packed by piw")
