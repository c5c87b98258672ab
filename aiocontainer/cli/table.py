"""Every command and option of the program, as data.

The parser, the help, manual pages and shell completion are made of this table.  Names, short forms
and meanings are runc's wherever runc has the option.  Plain classes, and no `typing`: whatever the
command, all of this is loaded before it.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "GLOBAL_OPTIONS", "PROGRAM", "Command", "Option"]

PROGRAM = "aiocontainer"


class Option:
    """One option; without `value` it is a switch."""

    __slots__ = ("choices", "default", "help", "names", "number", "repeat", "value")

    def __init__(
        self,
        names: tuple[str, ...],
        help: str,
        *,
        value: str = "",
        repeat: bool = False,
        number: bool = False,
        choices: tuple[str, ...] = (),
        default: str | None = None,
    ) -> None:
        """Describe an option.

        *names* has the long form first; *value* is how help calls the value.  Of what may be given
        several times (*repeat*) the values make a list.  A *number* is decimal, zero if not given.
        """
        self.names: tuple[str, ...] = names
        self.help: str = help
        self.value: str = value
        self.repeat: bool = repeat
        self.number: bool = number
        self.choices: tuple[str, ...] = choices
        self.default: str | None = default


class Command:
    """One command: what follows its name, and the function that carries it out."""

    __slots__ = (
        "description",
        "ends_options",
        "failure",
        "function",
        "name",
        "operands",
        "options",
        "summary",
        "usage",
    )

    def __init__(
        self,
        name: str,
        function: str,
        usage: str,
        summary: str,
        operands: tuple[int, int | None],
        options: tuple[Option, ...],
        *,
        description: str = "",
        failure: int = 1,
        ends_options: bool = False,
    ) -> None:
        """Describe a command.

        *function* is "module:function" below this package, imported when the command is used; *operands*
        the least and the most of them, None for any number; *failure* the exit status when the command
        itself fails, not what it ran.  With *ends_options* the first operand ends the options: the rest
        is a command line.
        """
        self.name: str = name
        self.function: str = function
        self.usage: str = usage
        self.summary: str = summary
        self.operands: tuple[int, int | None] = operands
        self.options: tuple[Option, ...] = options
        self.description: str = description
        self.failure: int = failure
        self.ends_options: bool = ends_options


GLOBAL_OPTIONS = (
    Option(("--debug",), "show where in the program an error was raised"),
    Option(
        ("--log",),
        "append messages to this file too; or journald:NAME, or syslog:NAME, send them there by this name",
        value="FILE",
    ),
    Option(
        ("--log-format",),
        "format of that file, one of",
        value="FORMAT",
        choices=("text", "json"),
        default="text",
    ),
    Option(
        ("--log-level",),
        "the least that is told: debug adds what --debug does; one of",
        value="LEVEL",
        choices=("error", "warning", "debug"),
        default="warning",
    ),
    Option(
        ("--root",),
        "directory of the containers' state (default: /run/aiocontainer, or below $XDG_RUNTIME_DIR)",
        value="DIR",
    ),
    Option(
        ("--cgroup-manager",),
        "who makes the cgroups, one of",
        value="MANAGER",
        choices=("auto", "cgroupfs", "systemd", "disabled"),
        default="auto",
    ),
    Option(("--systemd-cgroup",), "short for --cgroup-manager systemd"),
    Option(
        ("--systemd-job-mode",),
        "what becomes of another job of a unit that is to be started: fail leaves it alone, one of",
        value="MODE",
        choices=("fail", "replace"),
        default="fail",
    ),
    Option(
        ("--lenient-cgroups-path",),
        "with systemd, take a cgroupsPath of prefix:name, and name/a/b for processes in a/b below the unit",
    ),
    Option(
        ("--rootless",),
        "whether a container may go without a cgroup where rights to make one are missing; auto does",
        value="WHETHER",
        choices=("auto", "true", "false"),
        default="auto",
    ),
    Option(("--version", "-v"), "print the version"),
    Option(("--help", "-h"), "show this help"),
)

HELP = Option(("--help", "-h"), "show this help")
BUNDLE = Option(("--bundle", "-b"), "directory of config.json (default: the current one)", value="DIR")
CONFIG = Option(("--config", "-f"), "file of the bundle that is used instead of config.json", value="FILE")
REGEX = Option(("--regex", "-r"), "ID is a regular expression: all containers whose ids it is found in")
CONSOLE_SOCKET = Option(
    ("--console-socket",), "AF_UNIX socket that receives the master of the terminal", value="PATH"
)
PIDFD_SOCKET = Option(
    ("--pidfd-socket",), "AF_UNIX socket that receives a pidfd of the process", value="PATH"
)
PID_FILE = Option(("--pid-file",), "write the process id to this file", value="FILE")
PRESERVE_FDS = Option(
    ("--preserve-fds",), "pass N more descriptors, after stdio and $LISTEN_FDS", value="N", number=True
)
NO_SUBREAPER = Option(("--no-subreaper",), "do not adopt the orphans of a container without a pid namespace")
DETACH = Option(("--detach", "-d"), "return as soon as the program runs")
ENV = Option(("--env", "-e"), "set a variable of the environment", value="NAME=VALUE", repeat=True)
CWD = Option(("--cwd",), "working directory in the container", value="DIR")
USER = Option(("--user", "-u"), "numeric user, and group, of the process", value="UID[:GID]")
TTY = Option(("--tty", "-t"), "give the process a terminal of its own")

IMAGE_CACHE = Option(
    ("--image-cache",),
    "where layers of images are unpacked (default: below /var/cache, or ~/.cache)",
    value="DIR",
)

FORMAT = Option(
    ("--format", "-f"),
    "how to print them, one of",
    value="FORMAT",
    choices=("table", "json"),
    default="table",
)

PROPERTY_POLICY = Option(
    ("--property-policy",),
    "annotations for the unit of systemd: all but dangerous ones, safe ones alone, or all; one of",
    value="POLICY",
    choices=("careful", "untrusted", "any"),
    default="careful",
)

VERIFY_PROPERTIES = Option(
    ("--verify-properties",), "warn of properties of the unit that systemd altered or dropped"
)

CREATE_OPTIONS = (
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Option(("--no-pivot",), "move the root mount instead of pivot_root(2): for a root on a ramdisk"),
    Option(("--no-new-keyring",), "keep the session keyring of the caller"),
    PRESERVE_FDS,
    NO_SUBREAPER,
    PROPERTY_POLICY,
    VERIFY_PROPERTIES,
    HELP,
)

IMAGES = Option(("--image-path",), "directory of the images (default: ./checkpoint)", value="DIR")
OF_CRIU = (
    Option(("--work-path",), "directory of logs and statistics (default: that of the images)", value="DIR"),
    Option(("--tcp-established",), "allow open TCP connections"),
    Option(("--ext-unix-sk",), "allow unix sockets whose other end is outside"),
    Option(("--shell-job",), "allow a terminal and a session that are somebody else's"),
    Option(("--file-locks",), "allow file locks"),
    Option(
        ("--manage-cgroups-mode",),
        "what is restored of cgroups, one of",
        value="MODE",
        choices=("soft", "full", "strict", "ignore", "none", "props"),
    ),
    Option(("--empty-ns",), "leave out the content of this namespace: network", value="NAME", repeat=True),
    Option(("--auto-dedup",), "drop from the parent's images what is newer here"),
    Option(("--lazy-pages",), "fetch memory when it is needed"),
    Option(
        ("--network-lock",),
        "how connections are kept quiet, one of",
        value="METHOD",
        choices=("iptables", "nftables", "skip"),
    ),
)

COMMANDS = (
    Command(
        "run",
        "run:run",
        "[OPTIONS] ID  |  run [OPTIONS] [ID] -- COMMAND [ARG...]  |  run --image PATH",
        "create and start a container, and wait for it",
        (0, None),
        (
            DETACH,
            Option(("--keep",), "do not delete the container when it has exited"),
            *CREATE_OPTIONS[:-1],
            Option(("--rootfs",), "with COMMAND: directory to use as the root", value="DIR"),
            Option(
                ("--image",), "run an image: an OCI layout or an archive by docker save", value="PATH[:TAG]"
            ),
            IMAGE_CACHE,
            Option(("--hostname",), "with COMMAND: name of the host inside", value="NAME"),
            ENV,
            CWD,
            USER,
            TTY,
            Option(("--memory",), "with COMMAND: most memory", value="SIZE"),
            Option(("--pids-limit",), "with COMMAND: most processes and threads", value="N", number=True),
            Option(("--cpus",), "with COMMAND: most CPUs, 0.5 is half of one", value="CPUS"),
            HELP,
        ),
        description=(
            "Without '--', ID names a new container of the bundle, as in runc. With '--' no bundle is "
            "read: COMMAND runs in a throw-away container over a read-only view of this machine's own "
            "root, or over --rootfs, with a network of its own that has only lo, and without new "
            "privileges. The exit status is that of the program, or 128 and the number of the signal "
            "that ended it. --env, --cwd, --user, --tty, --hostname, --rootfs and the limits need COMMAND; "
            "--bundle refuses it. With --image they hold for a container of the image: "
            "ARGs take the place of the image's own, after its entry point, and an ID needs '--' behind it. "
            "With $NOTIFY_SOCKET the container has a socket of its own, whose READY=1 is passed on; --detach "
            "waits for it."
        ),
        ends_options=True,
    ),
    Command(
        "create",
        "run:create",
        "[OPTIONS] ID",
        "create a container; its program waits for start",
        (1, 1),
        CREATE_OPTIONS,
    ),
    Command(
        "start",
        "lifecycle:start",
        "ID",
        "run the program of a created container",
        (1, 1),
        (HELP,),
        description=(
            "With $NOTIFY_SOCKET here and at create, this waits until the program has said READY=1 at the "
            "$NOTIFY_SOCKET of its own, or has ended, and tells the service manager."
        ),
    ),
    Command(
        "exec",
        "exec:exec_",
        "[OPTIONS] ID COMMAND [ARG...]  |  exec [OPTIONS] --process FILE ID",
        "run another process in a container",
        (1, None),
        (
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            CWD,
            ENV,
            TTY,
            USER,
            Option(
                ("--additional-gids", "-g"),
                "one more group of the process",
                value="GID",
                repeat=True,
                number=True,
            ),
            Option(("--process", "-p"), "read the process from this JSON file", value="FILE"),
            DETACH,
            PID_FILE,
            Option(("--process-label",), "SELinux label of the process", value="LABEL"),
            Option(("--apparmor",), "AppArmor profile of the process", value="PROFILE"),
            Option(("--no-new-privs",), "let the process gain no privileges"),
            Option(("--cap", "-c"), "one more capability of the process", value="CAP", repeat=True),
            PRESERVE_FDS,
            Option(("--cgroup",), "cgroup below the container's", value="[CTRL,...:]PATH", repeat=True),
            Option(("--ignore-paused",), "enter a paused container too"),
            HELP,
        ),
        description=(
            "The process starts from the container's own: options change single fields of it. The exit "
            "status is that of the process, 128 and the number of the signal that ended it, or 255 when "
            "it could not be run."
        ),
        failure=255,
        ends_options=True,
    ),
    Command(
        "kill",
        "lifecycle:kill",
        "[OPTIONS] ID [SIGNAL]",
        "send a signal to the container's first process",
        (1, 2),
        (Option(("--all", "-a"), "send it to every process of the container"), REGEX, HELP),
        description=(
            "SIGNAL is a name with or without SIG, RTMIN+n, RTMAX-n, or a number; TERM if not given. "
            "With --regex those that have stopped are left out."
        ),
    ),
    Command("pause", "lifecycle:pause", "ID", "stop all processes where they are", (1, 1), (HELP,)),
    Command("resume", "lifecycle:resume", "ID", "let a paused container go on", (1, 1), (HELP,)),
    Command(
        "ps",
        "watch:ps",
        "[OPTIONS] ID [PS-OPTION...]",
        "list the processes of a container",
        (1, None),
        (
            FORMAT,
            HELP,
        ),
        description=(
            "A table is what ps(1) prints with PS-OPTIONs (-ef if none are given), less the processes of "
            "others; it needs its column PID. JSON is a list of numbers. They are those of the host."
        ),
        ends_options=True,
    ),
    Command(
        "events",
        "watch:events",
        "[OPTIONS] ID",
        "print what a container uses, and kills for want of memory",
        (1, 1),
        (
            Option(("--interval",), "time between readings (default: 5s)", value="DURATION", default="5s"),
            Option(("--stats",), "print one reading, and end"),
            HELP,
        ),
        description=(
            'One JSON object a line, in runc\'s form, until the container stops: type "stats" at intervals, '
            'and "oom" when something was killed for want of memory. DURATION is a number and a '
            "unit, ns, us, ms, s, m or h, or several of them: 1m30s."
        ),
    ),
    Command(
        "top",
        "top:top",
        "[OPTIONS]",
        "show what the running containers use, live",
        (0, 0),
        (
            Option(("--interval",), "time between readings (default: 1s)", value="DURATION", default="1s"),
            Option(("--once",), "print one table of what is used in an interval, and end"),
            HELP,
        ),
        description=(
            "All containers below --root, whoever created them, the busiest first. Where the output is no "
            "terminal, it is one plain table as with --once. Keys: q ends, c sorts by CPU, m by memory, i by "
            "input and output, n by name. PRESSURE is the resource that is waited for most, and for how much "
            "of the last ten seconds something waited; '-' is what this machine does not account."
        ),
    ),
    Command(
        "update",
        "update:update",
        "[OPTIONS] ID",
        "change the limits of a container",
        (1, 1),
        (
            Option(
                ("--resources", "-r"), "read them from this JSON file, '-' is standard input", value="FILE"
            ),
            Option(("--blkio-weight",), "weight of its input and output, 10 to 1000", value="WEIGHT"),
            Option(("--cpu-period",), "period in which --cpu-quota counts", value="MICROSECONDS"),
            Option(("--cpu-quota",), "time on CPUs in a period", value="MICROSECONDS"),
            Option(("--cpu-burst",), "time left over that may be used later", value="MICROSECONDS"),
            Option(("--cpu-share",), "weight on CPUs that others want too, 1024 is normal", value="SHARES"),
            Option(("--cpu-rt-period",), "period in which --cpu-rt-runtime counts", value="MICROSECONDS"),
            Option(("--cpu-rt-runtime",), "real-time in a period", value="MICROSECONDS"),
            Option(("--cpu-idle",), "1: only what nobody else wants of the CPUs; 0", value="WHETHER"),
            Option(("--cpuset-cpus",), "CPUs to run on", value="LIST"),
            Option(("--cpuset-mems",), "memory nodes to use", value="LIST"),
            Option(("--memory",), "most memory", value="SIZE"),
            Option(("--memory-reservation",), "memory to leave it", value="SIZE"),
            Option(("--memory-swap",), "most memory and swap together", value="SIZE"),
            Option(("--pids-limit",), "most processes and threads", value="NUMBER"),
            Option(("--l3-cache-schema",), "share of the L3 cache", value="SCHEMA"),
            Option(("--mem-bw-schema",), "share of the memory bandwidth", value="SCHEMA"),
            Option(("--kernel-memory",), "ignored: there is no such limit any more", value="SIZE"),
            Option(("--kernel-memory-tcp",), "ignored: there is no such limit any more", value="SIZE"),
            HELP,
        ),
        description=(
            "What is not given stays, -1 takes a limit away. A SIZE is a number of bytes, or ends in k, m "
            "or g. FILE holds an object as the 'resources' of config.json; options change single members "
            "of it. All of it takes effect, or nothing."
        ),
    ),
    Command(
        "checkpoint",
        "checkpoint:checkpoint",
        "[OPTIONS] ID",
        "save a running container into images; it is gone then",
        (1, 1),
        (
            IMAGES,
            *OF_CRIU,
            Option(("--parent-path",), "images of an earlier --pre-dump, as seen from these", value="DIR"),
            Option(("--leave-running",), "let the container go on"),
            Option(("--pre-dump",), "save memory only, and let the container go on"),
            Option(("--page-server",), "send memory there, not into the images", value="ADDRESS:PORT"),
            Option(("--status-fd",), "write a NUL there when lazy pages can be fetched", value="FD"),
            Option(("--tcp-skip-in-flight",), "leave out TCP connections that are being made"),
            Option(("--link-remap",), "allow open files that have no name any more"),
            HELP,
        ),
    ),
    Command(
        "restore",
        "checkpoint:restore",
        "[OPTIONS] ID",
        "bring back what checkpoint saved, as a new container, and wait for it",
        (1, 1),
        (
            BUNDLE,
            IMAGES,
            *OF_CRIU,
            CONSOLE_SOCKET,
            DETACH,
            PID_FILE,
            Option(("--tcp-close",), "close TCP connections that were open"),
            Option(("--lsm-profile",), "profile instead of the one that was saved", value="TYPE:NAME"),
            Option(("--lsm-mount-context",), "SELinux context of mounts instead", value="CONTEXT"),
            Option(("--no-pivot",), "accepted as in runc: CRIU enters the root in its own way"),
            NO_SUBREAPER,
            HELP,
        ),
    ),
    Command(
        "delete",
        "lifecycle:delete",
        "[OPTIONS] ID",
        "remove a stopped container",
        (1, 1),
        (Option(("--force", "-f"), "kill it first; it need not exist"), REGEX, HELP),
    ),
    Command(
        "prune",
        "prune:prune",
        "[OPTIONS]",
        "remove what owners that were killed have left",
        (0, 0),
        (
            Option(("--dry-run", "-n"), "only list what would be removed"),
            Option(("--quiet", "-q"), "print ids only"),
            Option(("--images",), "remove unpacked layers of images, too, that nothing uses"),
            IMAGE_CACHE,
            HELP,
        ),
        description=(
            "Removed are containers whose creation was interrupted, and those that were to end with a "
            'process that has ended (lifetime "owner"). Never what lives, what another process is working '
            "on, or what was created to outlive its maker, as by the commands create and run --detach."
        ),
    ),
    Command("state", "show:state", "ID", "print the state of a container as JSON", (1, 1), (HELP,)),
    Command(
        "list",
        "show:list_",
        "[OPTIONS]",
        "list the containers below --root",
        (0, 0),
        (
            FORMAT,
            Option(("--quiet", "-q"), "print ids only"),
            HELP,
        ),
    ),
    Command(
        "spec",
        "documents:spec",
        "[OPTIONS]",
        "write a default config.json",
        (0, 0),
        (
            BUNDLE,
            Option(("--config", "-f"), "file of the bundle to write instead of config.json", value="FILE"),
            Option(("--rootless",), "for a user without privileges"),
            HELP,
        ),
    ),
    Command(
        "plan",
        "documents:plan",
        "BUNDLE",
        "print what would be done for a bundle, step by step; needs no privilege",
        (1, 1),
        (Option(("--systemd-cgroup",), "as with the global option of this name"), PROPERTY_POLICY, HELP),
    ),
    Command(
        "features",
        "documents:features",
        "",
        "print what this program can do, as the OCI's features document; needs no privilege",
        (0, 0),
        (HELP,),
    ),
    Command(
        "info",
        "info:info",
        "[OPTIONS]",
        "print what this machine has for containers, and what we may use; needs no privilege",
        (0, 0),
        (FORMAT, HELP),
    ),
    Command(
        "completion",
        "completion:completion",
        "SHELL",
        "print what bash, zsh or fish needs to complete command lines",
        (1, 1),
        (HELP,),
        description="For bash, for one: source <(aiocontainer completion bash)",
    ),
    Command(
        "man",
        "manual:man",
        "[COMMAND]",
        "print the manual page of the program, or of a command",
        (0, 1),
        (HELP,),
        description="To be read by man: aiocontainer man run | man -l -",
    ),
    Command("help", "help:help_", "[COMMAND]", "explain the program, or a command", (0, 1), (HELP,)),
)
