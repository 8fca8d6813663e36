"""What an object file of the pair may show to the linker: names in namespace armdb."""
import re
import subprocess

# Strong symbols of the compiler's own making carry the name of what they serve.
ALLOWED = re.compile(r"(?:(?:vtable|VTT|typeinfo|typeinfo name|guard variable|construction vtable"
                     r"|(?:non-)?virtual thunk|TLS (?:init|wrapper) function|reference temporary"
                     r"(?: #\d+)?)(?: for| to)? )*armdb::")


def lines_of(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")


def is_ours(name):
    """True for a name of armdb, also when it is demangled with a return type in front."""
    return bool(ALLOWED.match(name) or re.match(r"[\w:<>*& ,]+? armdb::", name))


# What replication needs of this library, of the system and of OpenSSL, and nothing else does.
REPLICATION = re.compile(r"replica|Replica|os::(Stream|Listener|Waker|Address)|TlsContext"
                         r"|LogFeed|WriteTap|\b(socket|connect|accept4?|getaddrinfo|SSL_\w+)(@|$)")
# Such a build knows one file's name: it must not write to what has a leader or followers.
STAYS = re.compile(r"_no_replication$|store::was_replicated\(|format::kReplicaName$")


def check_omitted(path, checks):
    """Nothing of replication is in an object that was built without it, nor asked of others."""
    left = [line[19:] for line in lines_of(["nm", "-C", str(path)]) if REPLICATION.search(line[19:])
            and not STAYS.search(line)]
    checks.add("ARMDB_OMIT_REPLICATION leaves nothing of it", not left, "; ".join(left[:5]),
               "put it under #if !defined(ARMDB_OMIT_REPLICATION)")


def check(path, checks):
    strong = [m.groups() for l in lines_of(["nm", "-C", "--defined-only", "-g", str(path)])
              if (m := re.match(r"[0-9a-f]* ([A-Z]) (.*)", l))]
    ours = [name for kind, name in strong if is_ours(name)]
    leaked = [name for kind, name in strong if kind not in "VWU" and not is_ours(name)]
    checks.add(f"{path.name} exports only namespace armdb", ours and not leaked,
               "; ".join(leaked[:5]) or f"{len(ours)} symbols",
               "put it into namespace armdb, or into an unnamed namespace inside it")
    started = [l.split(None, 2)[-1] for l in lines_of(["nm", str(path)]) if "_GLOBAL__sub_I" in l]
    checks.add(f"{path.name} has no static constructor", not started, " ".join(started),
               "make the object constexpr or constinit, or a function-local static")
