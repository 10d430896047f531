//! What the token server refuses.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::signature::Verifier as _;
use rsa::{pkcs1v15, pss};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{CLIENT, Proof, Request, SCOPE, SECRET, SERVICE, State, client_certificate, client_key};

type Refusal = (&'static str, String);

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const JWT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The fields of a form, none of them twice (RFC 6749 §3.2).
fn fields(body: &str) -> Result<HashMap<String, String>, String> {
    let mut fields = HashMap::new();
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no field"))?;
        let (name, value) = (decoded(name)?, decoded(value)?);
        if fields.insert(name.clone(), value).is_some() {
            return Err(format!("{name} stands there twice"));
        }
    }
    Ok(fields)
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let pair = [rest.next(), rest.next()].map(|byte| byte.and_then(|byte| (byte as char).to_digit(16)));
                let [Some(high), Some(low)] = pair else { return Err(format!("{text:?} is badly encoded")) };
                bytes.push((high * 16 + low) as u8);
            }
            byte if byte.is_ascii_alphanumeric() || b"-._*~".contains(&byte) => bytes.push(byte),
            _ => return Err(format!("{text:?} is not encoded")),
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn jwt(text: &str) -> Result<(Value, Value), String> {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return Err("an assertion has three parts".into()) };
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string());
    let value = |text: &str| serde_json::from_slice::<Value>(&part(text)?).map_err(|error| error.to_string());
    let (head, body, signature) = (value(header)?, value(claims)?, part(signature)?);
    let (signed, key) = (format!("{header}.{claims}"), client_key().to_public_key());
    match head["alg"].as_str() {
        Some("RS256") => {
            let signature = pkcs1v15::Signature::try_from(signature.as_slice()).map_err(|error| error.to_string())?;
            let key = pkcs1v15::VerifyingKey::<Sha256>::new(key);
            key.verify(signed.as_bytes(), &signature).map_err(|_| "the signature does not verify")?;
        }
        Some("PS256") => {
            let signature = pss::Signature::try_from(signature.as_slice()).map_err(|error| error.to_string())?;
            let key = pss::VerifyingKey::<Sha256>::new(key);
            key.verify(signed.as_bytes(), &signature).map_err(|_| "the signature does not verify")?;
        }
        other => return Err(format!("alg {other:?}")),
    }
    if head["typ"] != "JWT" {
        return Err(format!("typ {:?}", head["typ"]));
    }
    Ok((head, body))
}

impl State {
    pub(super) fn checked(&mut self, request: &Request) -> Result<Value, Refusal> {
        let invalid = |why: String| ("invalid_request", why);
        if request.method != "POST" {
            return Err(invalid(format!("{} is not POST", request.method)));
        }
        let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
        if header("content-type") != "application/x-www-form-urlencoded" {
            return Err(invalid(format!("content type {:?}", header("content-type"))));
        }
        if !header("accept").contains("application/json") || header("content-length").is_empty() {
            return Err(invalid("no accept, or no length".into()));
        }
        let mut fields = fields(&request.body).map_err(invalid)?;
        self.requests.push(fields.clone());
        let mut take = |name: &str| fields.remove(name);
        let (grant, scope) = (take("grant_type"), take("scope"));
        if grant.as_deref() != Some(JWT) {
            let client = take("client_id");
            let (secret, kind, assertion) =
                (take("client_secret"), take("client_assertion_type"), take("client_assertion"));
            self.client(header("authorization"), client, secret, kind, assertion)?;
        } else if !header("authorization").is_empty() {
            return Err(invalid("an assertion needs no other login".into()));
        }
        let (refresh, code, assertion) = (take("refresh_token"), take("device_code"), take("assertion"));
        if let Some(unknown) = fields.keys().next() {
            return Err(invalid(format!("unknown field {unknown}")));
        }
        let given = HashSet::from([refresh.is_some(), code.is_some(), assertion.is_some()]);
        if request.path == "/device" {
            if grant.is_some() || given.contains(&true) {
                return Err(invalid("a field that has no place here".into()));
            }
            self.scope(scope.as_deref())?;
            return Ok(self.begin());
        }
        if request.path != "/token" {
            return Err(invalid(format!("path {}", request.path)));
        }
        match (grant.as_deref(), refresh, code, assertion) {
            (Some("client_credentials"), None, None, None) => {
                if self.proof == Proof::Public {
                    return Err(("unauthorized_client", "a public client has no right of its own".into()));
                }
                self.scope(scope.as_deref())?;
                Ok(self.grant(None))
            }
            (Some("refresh_token"), Some(token), None, None) => {
                self.scope(scope.as_deref())?;
                let next = self.refreshed(&token)?;
                Ok(self.grant(next))
            }
            (Some(DEVICE), None, Some(code), None) if scope.is_none() => self.poll(&code),
            (Some(JWT), None, None, Some(assertion)) if scope.is_none() => self.service_account(&assertion),
            (Some("client_credentials" | "refresh_token" | DEVICE | JWT), ..) => {
                Err(invalid("fields that do not belong to the grant".into()))
            }
            (other, ..) => Err(("unsupported_grant_type", format!("{other:?}"))),
        }
    }

    fn scope(&self, scope: Option<&str>) -> Result<(), Refusal> {
        if scope == Some(SCOPE) { Ok(()) } else { Err(("invalid_scope", format!("{scope:?}"))) }
    }

    fn client(
        &mut self,
        authorization: &str,
        client: Option<String>,
        secret: Option<String>,
        kind: Option<String>,
        assertion: Option<String>,
    ) -> Result<(), Refusal> {
        let bad = |why: &str| Err(("invalid_client", why.to_owned()));
        let is_named = client.as_deref() == Some(CLIENT);
        match (self.proof, authorization, secret, kind, assertion) {
            (Proof::Public, "", None, None, None) if is_named => Ok(()),
            (Proof::Body, "", Some(secret), None, None) if is_named => {
                if secret == SECRET {
                    Ok(())
                } else {
                    bad("the secret is another one")
                }
            }
            (Proof::Header, header, None, None, None) if client.is_none() => {
                let pair = header.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
                let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
                let pair = pair.split_once(':').map(|(name, word)| (decoded(name), decoded(word)));
                match pair {
                    Some((Ok(name), Ok(word))) if name == CLIENT && word == SECRET => Ok(()),
                    _ => bad("the header's login is another one"),
                }
            }
            (Proof::Assertion(algorithm), "", None, Some(kind), Some(assertion)) if is_named => {
                if kind != ASSERTION {
                    return bad("the assertion is of another type");
                }
                self.assertion(algorithm, &assertion).map_err(|why| ("invalid_client", why))
            }
            _ => bad("the client proves itself in another way than it should"),
        }
    }

    /// RFC 7523 §3, and what Microsoft asks of the header.
    fn assertion(&mut self, algorithm: &str, text: &str) -> Result<(), String> {
        let (header, claims) = jwt(text)?;
        let now = self.now();
        let time = |name: &str| claims[name].as_i64().ok_or_else(|| format!("no {name}"));
        let (exp, nbf, iat) = (time("exp")?, time("nbf")?, time("iat")?);
        let der = client_certificate().1;
        if header["alg"] != algorithm {
            return Err(format!("alg {:?}", header["alg"]));
        }
        if header["x5t#S256"] != URL_SAFE_NO_PAD.encode(Sha256::digest(&der))
            || header["x5t"] != URL_SAFE_NO_PAD.encode(sha1::Sha1::digest(&der))
        {
            return Err("the certificate is not known".into());
        }
        if claims["iss"] != CLIENT || claims["sub"] != CLIENT || claims["aud"] != self.url.as_str() {
            return Err("iss, sub or aud are others".into());
        }
        if exp <= now || exp > now + 15 * 60 || nbf > now || iat > now {
            return Err(format!("from {nbf} to {exp}, and it is {now}"));
        }
        let jti = claims["jti"].as_str().ok_or("no jti")?;
        if !self.jtis.insert(jti.to_owned()) {
            return Err("the assertion was used before".into());
        }
        Ok(())
    }

    /// As Google reads it.
    fn service_account(&mut self, text: &str) -> Result<Value, Refusal> {
        let invalid = |why: String| ("invalid_grant", why);
        let (header, claims) = jwt(text).map_err(invalid)?;
        let (now, exp, iat) = (self.now(), claims["exp"].as_i64(), claims["iat"].as_i64());
        let (Some(exp), Some(iat)) = (exp, iat) else { return Err(invalid("no exp or iat".into())) };
        if exp <= now || iat > now || exp - iat > 60 * 60 {
            return Err(invalid("the token must be short-lived and in a reasonable timeframe".into()));
        }
        if header["alg"] != "RS256" || header["kid"] != "key-1" {
            return Err(invalid("another key".into()));
        }
        if claims["iss"] != SERVICE || claims["aud"] != self.url.as_str() {
            return Err(invalid("iss or aud".into()));
        }
        self.scope(claims["scope"].as_str())?;
        let subject = claims["sub"].as_str().map(str::to_owned);
        if subject.is_none_or(|subject| !self.delegated.contains(&subject)) {
            let why = "Client is unauthorized to retrieve access tokens using this method";
            return Err(("unauthorized_client", why.into()));
        }
        Ok(self.grant(None))
    }

    fn begin(&mut self) -> Value {
        self.device_asked_at = Some(self.clock_now());
        json!({
            "device_code": "dc-1", "user_code": "WDJB-MJHT", "verification_uri": "https://login.example/device",
            "expires_in": 900, "interval": 5,
        })
    }

    /// RFC 8628 §3.5: who asks sooner than the interval is not served.
    fn poll(&mut self, code: &str) -> Result<Value, Refusal> {
        if code != "dc-1" {
            return Err(("invalid_grant", "another device code".into()));
        }
        let now = self.clock_now();
        let since = self.device_asked_at.map_or(0, |at| now.as_second() - at.as_second());
        self.device_asked_at = Some(now);
        if since < self.device_interval_s {
            return Err(("invalid_request", format!("asked again after {since} s")));
        }
        match self.device.pop_front() {
            None => {
                self.refresh.insert("rt-device".into(), None);
                Ok(self.grant(Some("rt-device".into())))
            }
            Some("slow_down") => {
                self.device_interval_s += 5;
                Err(("slow_down", String::new()))
            }
            Some(word) => Err((word, String::new())),
        }
    }

    fn clock_now(&self) -> jiff::Timestamp {
        use gatepost::base::clock::Clock as _;
        self.clock.now()
    }
}
