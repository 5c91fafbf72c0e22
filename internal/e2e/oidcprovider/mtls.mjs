// Clients that show a certificate (RFC 8705).
import { createHash, X509Certificate } from 'node:crypto';

const peer = (ctx) => {
  const raw = ctx.socket.getPeerCertificate?.()?.raw; // not there on plain http
  return raw && new X509Certificate(raw);
};

export const mTLS = {
  enabled: true,
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => peer(ctx)?.toString(),
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_dns'
    && peer(ctx).subjectAltName.split(', ').includes(`DNS:${expected}`),
};

export const aliases = (address) => Object.fromEntries(Object.entries({
  token_endpoint: '/token',
  revocation_endpoint: '/token/revocation',
  introspection_endpoint: '/token/introspection',
  device_authorization_endpoint: '/device/auth',
  pushed_authorization_request_endpoint: '/request',
  userinfo_endpoint: '/me',
}).map(([name, path]) => [name, `https://${address}${path}`]));

// Whether token is bound to no certificate, or to that of the connection.
export const isPresenters = (ctx, token) => {
  const bound = token['x5t#S256'];
  const raw = peer(ctx)?.raw;
  return !bound || (raw && createHash('sha256').update(raw).digest('base64url') === bound);
};
