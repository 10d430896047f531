//! Room on the archive's disk. Collecting stops before it is full: a full disk stops more than mail, and what stands on it
//! half written has to be looked at.

use std::io;
use std::path::Path;

/// What is left free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// 1 GiB, or a twentieth of a volume that is smaller than 20 GiB.
    #[default]
    Auto,
    Bytes(u64),
}

const GIB: u64 = 1024 * 1024 * 1024;

/// How much room there is, and how much of it is not for mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub reserve: u64,
}

impl Room {
    /// Of the volume that holds `folder`.
    pub fn of(folder: &Path, reserve: Reserve) -> io::Result<Room> {
        let free = fs4::available_space(folder)?;
        let reserve = match reserve {
            Reserve::Auto => GIB.min(fs4::total_space(folder)? / 20),
            Reserve::Bytes(bytes) => bytes,
        };
        Ok(Room { free, reserve })
    }

    /// What is said when collecting pauses because of it; so many items are known to wait.
    pub fn told(self, waiting: u64) -> String {
        let size = |bytes: u64| bytesize::ByteSize(bytes).display().iec().to_string();
        let (free, reserve) = (size(self.free), size(self.reserve));
        let items = if waiting == 1 { "1 item waits".to_owned() } else { format!("{waiting} items wait") };
        format!("{free} free, reserve {reserve}. Collecting paused; {items} on the gateway. Nothing was lost.")
    }

    pub fn is_short(self) -> bool {
        self.free < self.reserve
    }
}
