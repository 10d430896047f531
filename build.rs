//! For Windows: what a program tells about itself there (version, manifest), and the texts of its Event Log entries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_WINDOWS").is_some()
        && let Err(error) = windows_resources()
    {
        println!("cargo::error=the resources of gatepost.exe cannot be made: {error}");
    }
}

fn windows_resources() -> std::io::Result<()> {
    let Some(folder) = std::env::var_os("OUT_DIR").map(std::path::PathBuf::from) else {
        return Err(std::io::Error::other("cargo names no folder"));
    };
    let messages = folder.join("messages.bin");
    std::fs::write(&messages, message_table())?;
    let messages = messages.display().to_string().replace('\\', "/");
    winresource::WindowsResource::new()
        .set("ProductName", "gatepost")
        .set("LegalCopyright", "Apache-2.0 OR MIT")
        .set_manifest(MANIFEST)
        // 11: RT_MESSAGETABLE.
        .append_rc_content(&format!("1 11 \"{messages}\""))
        .compile_for("gatepost")
}

/// Paths longer than 260 characters where the machine allows them, and no asking for an administrator's rights by itself.
const MANIFEST: &str = r#"<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <trustInfo xmlns="urn:schemas-microsoft-com:asm.v3">
    <security><requestedPrivileges><requestedExecutionLevel level="asInvoker" uiAccess="false"/></requestedPrivileges></security>
  </trustInfo>
  <application xmlns="urn:schemas-microsoft-com:asm.v3">
    <windowsSettings><longPathAware xmlns="http://schemas.microsoft.com/SMI/2016/WindowsSettings">true</longPathAware></windowsSettings>
  </application>
</assembly>
"#;

/// The Event Log finds the sentence of an entry in the program that wrote it, by the entry's number: here each is `%1`, the
/// text itself. The numbers are winlog2's, which has such a table too, but as a library cannot put it into a program.
/// Without it the entries are shown under a paragraph about a description that cannot be found.
fn message_table() -> Vec<u8> {
    // First and last number, rising: informational, warning, error.
    const BLOCKS: [(u32, u32); 3] =
        [(0x4000_0003, 0x4000_0005), (0x8000_0002, 0x8000_0002), (0xC000_0001, 0xC000_0001)];
    // MESSAGE_RESOURCE_ENTRY: length, flags (1: UTF-16), text, padded to four bytes.
    let text: Vec<u8> = "%1\r\n\0\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let entry = [&16u16.to_le_bytes()[..], &1u16.to_le_bytes(), &text].concat();
    let mut table = 3u32.to_le_bytes().to_vec();
    let mut offset = 4 + 3 * 12;
    for (low, high) in BLOCKS {
        for number in [low, high, offset] {
            table.extend(number.to_le_bytes());
        }
        offset += 16 * (high - low + 1);
    }
    for _ in BLOCKS.iter().flat_map(|(low, high)| *low..=*high) {
        table.extend(&entry);
    }
    table
}
