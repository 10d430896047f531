//! Programs that are started and can be ended with all that they start themselves.

use std::io;
use std::process::Command;

/// A program with all that it starts.
#[cfg(unix)]
pub struct Group {
    child: std::process::Child,
    over: bool,
}

#[cfg(unix)]
impl Group {
    pub fn spawn(mut command: Command) -> io::Result<Group> {
        use std::os::unix::process::CommandExt as _;
        Ok(Group { child: command.process_group(0).spawn()?, over: false })
    }

    pub fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    pub fn complaints(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    pub fn try_wait(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        let status = self.child.try_wait()?;
        self.over |= status.is_some();
        Ok(status)
    }

    /// Ends all of it. Called before the program was waited for, so that the number is still its own.
    pub fn kill(&mut self) {
        if self.over {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // Nothing of it may be left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
        self.over = true;
    }
}

#[cfg(windows)]
pub struct Group {
    child: Box<dyn process_wrap::std::ChildWrapper>,
}

#[cfg(windows)]
impl Group {
    pub fn spawn(command: Command) -> io::Result<Group> {
        let mut wrap = process_wrap::std::CommandWrap::from(command);
        Ok(Group { child: wrap.wrap(process_wrap::std::JobObject).spawn()? })
    }

    pub fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin().take()
    }

    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout().take()
    }

    pub fn complaints(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr().take()
    }

    pub fn try_wait(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    pub fn kill(&mut self) {
        // Nothing of it may be left.
        let _ = self.child.kill();
    }
}
