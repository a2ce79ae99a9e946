/**
 * Runs a command and exits when all of its descendants are dead. This process is a subreaper (Linux only): every
 * orphaned descendant becomes its child, whatever session, folder and variables it has. It kills its children until
 * none is left when the command has ended, or two seconds after SIGTERM, which is before the builder sends SIGKILL to
 * the whole group, which would kill this process, too. It also gets SIGTERM when the builder ends for any reason.
 */
const REAPER_SCRIPT = `
import ctypes, os, signal, sys, time

def children():
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/stat' % int(name), 'rb') as file:
                if int(file.read().rsplit(b')', 1)[1].split()[1]) == os.getpid():
                    yield int(name)
        except (OSError, ValueError):
            pass

def kill(*_):
    for pid in children():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

prctl = ctypes.CDLL(None).prctl
prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
child = os.fork()
if child == 0:
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        os.write(1, str(error).encode() + b'\\n')
        os._exit(127)
signal.signal(signal.SIGALRM, kill)
signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, 2, 0.05))
prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
pid, status = os.wait()
while pid != child:
    pid, status = os.wait()
signal.setitimer(signal.ITIMER_REAL, 0)
while True:
    kill()
    try:
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            time.sleep(0.005)
    except ChildProcessError:
        break
os._exit(status >> 8 if status & 127 == 0 else 128 + (status & 127))
`;

/**
 * Returns the beginning of the command line of a build without a sandbox; empty on other systems than Linux. A
 * malicious build can kill the reaper first, because both have the same user; only namespaces or a separate account
 * prevent that.
 */
export function reaperCommand(python: string): readonly string[] {
  return process.platform === 'linux' ? [python, '-I', '-c', REAPER_SCRIPT] : [];
}
