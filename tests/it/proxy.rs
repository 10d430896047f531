//! EWS through an HTTP proxy: a tunnel, in which nothing is readable.

use gatepost::demo::corpus::Corpus;

use crate::support::agent::{Agent, Config, PASSWORD_VARIABLE, count};
use crate::support::connect_proxy::ConnectProxy;
use crate::support::dovecot::PASSWORD;
use crate::support::ews::{Ews, Setup, USER};

fn mails(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Corpus::small(seed, count).iter().map(|generated| generated.item).collect()
}

fn agent(ews: &Ews, further: &str) -> Agent {
    let agent = Agent::new(&Config::at(0));
    let ca = ews.ca_file.as_ref().map(|ca| format!("ca_file = {ca:?}\n")).unwrap_or_default();
    agent.configure_text(&format!(
        "[archive]\npath = \"archive\"\n[people]\ninternal_domains = [\"corp.example\"]\nunknown_internal = \"create\"\n\
         [[profile]]\nname = \"exchange\"\ndelete = true\n[profile.ews]\nurl = {:?}\nusername = {USER:?}\n\
         password = {{ env = \"{PASSWORD_VARIABLE}\" }}\ntimeout = \"60s\"\n{ca}{further}\n",
        ews.url
    ));
    agent
}

#[test]
fn mail_comes_through_a_tunnel_with_every_login() {
    for auth in ["basic", "ntlm"] {
        for pinned in [true, false] {
            let ews = Ews::start(Setup { tls: true, ntlm: auth == "ntlm", ..Setup::default() });
            ews.deliver(mails(111, 5));
            let proxy = ConnectProxy::start(None);
            let pin = if pinned { format!("tls_fingerprint = \"{}\"", ews.fingerprint()) } else { String::new() };
            let agent = agent(&ews, &format!("auth = \"{auth}\"\nproxy = \"http://localhost:{}\"\n{pin}", proxy.port));
            agent.run(&["check"]).is(0, &["certificate verified"]);
            assert_eq!(count(&agent.once(0), "deleted"), 5, "{auth}");
            let targets = proxy.targets();
            assert!(!targets.is_empty() && targets.iter().all(|it| *it == format!("localhost:{}", ews.port)));
            let through = proxy.through();
            assert!(!through.is_empty() && !through.contains("Authorization") && !through.contains(PASSWORD));
        }
    }
}

#[test]
fn a_proxy_may_want_a_login_of_its_own() {
    // user:secret, which is no secret of the gateway's.
    let proxy = ConnectProxy::start(Some("Basic dXNlcjpzZWNyZXQ="));
    let ews = Ews::start(Setup { tls: true, ..Setup::default() });
    ews.deliver(mails(112, 1));
    let with = |password: &str| {
        let agent = agent(
            &ews,
            &format!(
                "proxy = \"http://user@localhost:{}\"\nproxy_password = {{ file = \"proxy.password\" }}",
                proxy.port
            ),
        );
        std::fs::write(agent.path("proxy.password"), password).unwrap();
        agent
    };
    let said = with("wrong").run(&["once"]);
    said.is(3, &["gives no tunnel", "407", "hint: check the user in `proxy`", "nothing was deleted"]);
    assert!(proxy.targets().is_empty() && ews.calls("GetFolder") == 0);
    assert_eq!(count(&with("secret").once(0), "deleted"), 1);
}

/// The environment does not choose the way that mail and logins take.
#[test]
fn only_the_configuration_names_a_proxy() {
    let ews = Ews::start(Setup { tls: true, ..Setup::default() });
    ews.deliver(mails(113, 1));
    let proxy = ConnectProxy::start(None);
    let mut agent = agent(&ews, "");
    let url = format!("http://localhost:{}", proxy.port);
    agent.environment = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]
        .map(|name| (name.to_owned(), url.clone()))
        .into();
    assert_eq!(count(&agent.once(0), "deleted"), 1);
    assert!(proxy.targets().is_empty());
}

#[test]
fn what_would_be_readable_does_not_go_through_a_proxy() {
    let proxy = ConnectProxy::start(None);
    let ews = Ews::plain();
    let further = format!("allow_plaintext = true\nproxy = \"http://localhost:{}\"", proxy.port);
    agent(&ews, &further).run(&["once"]).is(1, &["proxy", "could read the password"]);
    assert!(proxy.targets().is_empty() && proxy.through().is_empty());
    // A proxy that is not there, and one that is none.
    let ews = Ews::start(Setup { tls: true, ..Setup::default() });
    agent(&ews, "proxy = \"http://localhost:1\"").run(&["once"]).is(3, &["the proxy localhost:1 cannot be reached"]);
    let further = format!("proxy = \"http://localhost:{}\"", Ews::plain().port);
    agent(&ews, &further).run(&["once"]).is(3, &["gives no tunnel", "nothing was deleted"]);
}
