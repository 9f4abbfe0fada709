"""Clients that openapi-generator makes of `docs/openapi.json`, compiled as their users would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tools import npm

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]
DOCUMENT = ROOT / "docs" / "openapi.json"
#: Made by `make test-clients`.
ENVIRONMENT = ROOT / ".venv" / "clients" / "bin"
GENERATOR = ENVIRONMENT / "openapi-generator-cli"

#: What generated code imports, from Debian's packages.
JAVA = Path("/usr/share/java")
_JAVA_JARS = (
    *("jackson-annotations", "jackson-core", "jackson-databind", "jakarta-annotation-api"),
    *("httpclient", "httpcore", "httpmime", "jsr305"),
)
_KOTLIN_JARS = ("gson",)
#: What the Kotlin compiler runs on; all in its own package.
_COMPILER_JARS = (
    *("kotlin-compiler", "kotlin-stdlib", "kotlin-script-runtime", "kotlin-reflect"),
    *("kotlinx-coroutines-core-jvm", "annotations-13.0"),
)
#: Of the generator's own files those that need a library which Debian does not have; there are
#: stand-ins for them beside this file. None of our operations has a date.
_WITHOUT = ("RFC3339InstantDeserializer.java", "RFC3339JavaTimeModule.java")

needs_generator = pytest.mark.skipif(
    not GENERATOR.exists(),
    reason="openapi-generator is not installed: `make test-clients` installs it and runs this",
)


def _missing(jars: tuple[str, ...]) -> list[str]:
    return [jar for jar in jars if not (JAVA / f"{jar}.jar").exists()]


needs_java = pytest.mark.skipif(
    shutil.which("javac") is None or bool(_missing(_JAVA_JARS)),
    reason="a Java compiler or Debian's Jackson, HttpComponents, JSR 305 or annotations are not "
    "installed: `make install-test-packages` installs them",
)
needs_kotlin = pytest.mark.skipif(
    shutil.which("java") is None or npm.NPM is None or bool(_missing(_KOTLIN_JARS)),
    reason="Java, npm (for the Kotlin compiler) or Debian's Gson is not installed: "
    "`make install-test-packages` installs the first and the last",
)


def typescript(folder: Path) -> list[str]:
    """Generate for TypeScript (fetch) and compile with a program that uses it.

    Returns:
        The command that runs that program.
    """
    npm.install(FOLDER)
    _generate("typescript-fetch", folder / "client", "importFileExtension=.js")
    shutil.copy(FOLDER / "typescript" / "detect.ts", folder)
    shutil.copy(FOLDER / "tsconfig.json", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    npm.run([FOLDER / "node_modules" / ".bin" / "tsc", "-p", folder], folder)
    assert npm.NODE is not None
    return [npm.NODE, str(folder / "detect.js")]


def java(folder: Path) -> list[str]:
    """Generate for Java (its own HTTP client, Jackson); as `typescript`."""
    _generate("java", folder / "client", "library=native,openApiNullable=false,useJakartaEe=true")
    made = (folder / "client" / "src" / "main").rglob("*.java")
    sources = [each for each in made if each.name not in _WITHOUT]
    sources += (FOLDER / "java").rglob("*.java")
    classes = folder / "classes"
    path = _class_path(*(JAVA / f"{jar}.jar" for jar in (*_JAVA_JARS, "commons-logging")))
    _run(["javac", "-nowarn", "-d", classes, "-cp", path, *sources])
    return ["java", "-cp", _class_path(classes, Path(path)), "Detect"]


def kotlin(folder: Path) -> list[str]:
    """Generate for Kotlin (OkHttp, Gson); as `typescript`."""
    npm.install(FOLDER)
    _generate("kotlin", folder / "client", "serializationLibrary=gson")
    library = FOLDER / "node_modules" / "kotlin-compiler" / "lib"
    path = _class_path(
        library / "kotlin-stdlib.jar", *(JAVA / f"{jar}.jar" for jar in _KOTLIN_JARS)
    )
    classes = folder / "classes"
    compiler = _class_path(*(library / f"{jar}.jar" for jar in _COMPILER_JARS))
    _run(
        [
            *("java", "-Xmx1g", "-cp", compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"),
            *("-no-stdlib", "-no-reflect", "-nowarn", "-cp", path, "-d", classes),
            *(folder / "client" / "src" / "main" / "kotlin", FOLDER / "kotlin"),
        ]
    )
    return ["java", "-cp", _class_path(classes, Path(path)), "DetectKt"]


def _generate(language: str, folder: Path, options: str) -> None:
    _run(
        [
            *(GENERATOR, "generate", "-i", DOCUMENT, "-g", language, "-o", folder),
            *("--additional-properties", options),
        ]
    )


def _class_path(*parts: Path) -> str:
    return os.pathsep.join(map(str, parts))


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
