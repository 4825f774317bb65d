//! What one run of the program owns: its temporary folders, and how it ends at a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recant_files::{Outputs, Temporaries, TemporaryFolder};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A run of the program. A signal that ends it removes its temporary folders first.
#[derive(Debug, Clone, Default)]
pub struct Session {
    temporaries: Temporaries,
    stop: Arc<Stop>,
}

/// Whether the first signal ends the process, or asks the command to end.
#[derive(Debug, Default)]
struct Stop {
    politely: AtomicBool,
    asked: Arc<AtomicBool>,
}

impl Session {
    /// Begins a run: listens to signals, and removes what killed runs left among the system's temporary folders.
    #[must_use]
    pub fn begin() -> Self {
        let session = Self::default();
        // Where signals cannot be had, what a killed run leaves is removed by the next one.
        #[cfg(unix)]
        let _without = unix::listen(&session);
        Temporaries::sweep(&std::env::temp_dir());
        session
    }

    /// The outputs of a command; `force` allows it to replace what is there by something of the same kind.
    pub(crate) fn outputs(&self, force: bool) -> Outputs {
        Outputs::new(&self.temporaries).replacing(force)
    }

    /// A temporary folder of this run.
    pub(crate) fn folder(&self) -> std::io::Result<TemporaryFolder> {
        self.temporaries.folder()
    }

    /// Runs work during which a signal sets [`Session::asked`], and only a second one ends the process.
    pub(crate) fn interruptible<T>(&self, work: impl FnOnce() -> T) -> T {
        let polite = |on: bool| {
            self.stop.asked.store(false, Ordering::SeqCst);
            self.stop.politely.store(on, Ordering::SeqCst);
        };
        polite(true);
        let done = work();
        polite(false);
        done
    }

    /// Whether a signal asked the command to end.
    pub(crate) fn asked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop.asked)
    }

    /// From now on the first signal sets the flag, and only the second one ends the process.
    pub(crate) fn stop_politely(&self) -> Arc<AtomicBool> {
        self.stop.politely.store(true, Ordering::SeqCst);
        #[cfg(not(unix))]
        for signal in [SIGINT, SIGTERM] {
            use signal_hook::flag;
            let asked = &self.stop.asked;
            // The order matters: the process ends at a signal that finds the flag set.
            let _without = flag::register_conditional_shutdown(signal, 130, Arc::clone(asked));
            let _without = flag::register(signal, Arc::clone(asked));
        }
        self.asked()
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{self, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;

    use signal_hook::consts::{SIGHUP, SIGXFSZ};
    use signal_hook::low_level::{emulate_default_handler, pipe};
    use signal_hook::{flag, low_level};

    use super::*;

    pub(super) fn listen(session: &Session) -> io::Result<()> {
        // A file that grows beyond `ulimit -f` is then an error of the write, like a full disk.
        flag::register(SIGXFSZ, Arc::default())?;
        let which = Arc::new(AtomicUsize::new(0));
        let (mut reader, writer) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)) {
            flag::register_usize(signal, Arc::clone(&which), signal as usize)?;
            pipe::register(signal, writer.try_clone()?)?;
        }
        let session = session.clone();
        let run = move || {
            while reader.read_exact(&mut [0]).is_ok() {
                let Stop { politely, asked } = &*session.stop;
                if politely.load(Ordering::SeqCst) && !asked.swap(true, Ordering::SeqCst) {
                    continue;
                }
                let signal = which.load(Ordering::SeqCst) as i32;
                session.temporaries.remove_all(|| {
                    let _ends = emulate_default_handler(signal);
                    low_level::exit(130);
                });
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(run).map(drop)
    }

    /// Whether whoever started the process had it ignore a signal, as `nohup` does. Where the system does not say,
    /// SIGHUP is left as it is.
    fn is_ignored(signal: i32) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        match mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
            Some(mask) => mask >> (signal - 1) & 1 == 1,
            None => signal == SIGHUP,
        }
    }
}
