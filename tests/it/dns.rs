//! SRV records of a real DNS server (dnsmasq) on loopback.

use std::process::{Child, Command, Stdio};

use gatepost::net::dns::{Dns, Named};

use crate::support::dovecot::free_port;

struct Dnsmasq {
    child: Child,
    port: u16,
}

impl Dnsmasq {
    /// `None`: the server cannot be had here, and the test is skipped.
    async fn start(records: &[&str]) -> Option<Dnsmasq> {
        let program =
            ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"].into_iter().find(|path| std::path::Path::new(path).exists());
        let Some(program) = program else {
            crate::support::skip("dnsmasq is not installed (Debian: apt-get install dnsmasq-base)");
            return None;
        };
        // A free port may be taken by another test before the server binds it.
        for _ in 0..4 {
            let port = free_port();
            let mut command = Command::new(program);
            command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file"]);
            command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local=/example/", "--log-facility=-"]);
            command.arg(format!("--port={port}")).arg("--srv-host=_up._tcp.example,up.example,1,0,0").args(records);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut server = Dnsmasq { child: command.spawn().unwrap(), port };
            let dns = server.dns();
            while matches!(server.child.try_wait(), Ok(None)) {
                if dns.srv("_up._tcp", "example").await.is_ok_and(|found| found.len() == 1) {
                    return Some(server);
                }
            }
        }
        crate::support::skip("dnsmasq does not come up");
        None
    }

    fn dns(&self) -> Dns {
        Dns::at(([127, 0, 0, 1], self.port).into()).unwrap()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_servers_that_a_domain_names_come_in_its_order() {
    let Some(server) = Dnsmasq::start(&[
        // Target, port, priority, weight.
        "--srv-host=_imaps._tcp.corp.example,spare.corp.example,993,20,0",
        "--srv-host=_imaps._tcp.corp.example,light.corp.example,993,10,1",
        "--srv-host=_imaps._tcp.corp.example,Heavy.corp.example,1993,10,9",
        // Decidedly no such service.
        "--srv-host=_pop3s._tcp.corp.example",
    ])
    .await
    else {
        return;
    };
    let named = |host: &str, port| Named { host: host.into(), port };
    let dns = server.dns();
    assert_eq!(
        dns.srv("_imaps._tcp", "corp.example").await.unwrap(),
        [named("heavy.corp.example", 1993), named("light.corp.example", 993), named("spare.corp.example", 993)]
    );
    assert_eq!(dns.srv("_pop3s._tcp", "corp.example").await.unwrap(), []);
    assert_eq!(dns.srv("_imap._tcp", "corp.example").await.unwrap(), [], "nothing is said");
    assert_eq!(dns.srv("_imaps._tcp", "other.example").await.unwrap(), [], "no such domain");
    assert!(dns.srv("_imaps._tcp", "corp.test").await.is_err(), "refused is an error, and not none");
}
