// A certified OpenID provider on loopback, for tests. It reads one JSON object (see config.go) as the first line of its
// standard input, prints {"issuer", "address", "mtls"} when it is ready, and ends when its standard input does.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';
import { adapterOver } from './adapter.mjs';
import { aliases, mTLS } from './mtls.mjs';
import { pages } from './pages.mjs';
import { testRoutes } from './testroutes.mjs';

const stdin = createInterface({ input: process.stdin });
const [line] = await once(stdin, 'line');
stdin.on('close', () => process.exit(0));
const config = JSON.parse(line);

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${server.address().port}`;
}

const { tls } = config; // { key, cert, ca } in PEM
const server = tls ? createTLSServer(tls) : createServer();
const address = await listen(server);
const issuer = config.issuer || `${tls ? 'https' : 'http'}://${address}`;
// Where clients show a certificate, of whatever authority.
const mtlsServer = tls && createTLSServer({ ...tls, requestCert: true, rejectUnauthorized: false });
const mtls = mtlsServer && await listen(mtlsServer);

// By default all providers sign with the same well-known key.
const keys = () => [['rsa', { modulusLength: 2048 }], ['ec', { namedCurve: 'P-256' }], ['ec', { namedCurve: 'P-384' }], ['ed25519']]
  .map(([type, options]) => generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }));
const algorithms = ['RS256', 'PS256', 'PS384', 'ES256', 'ES384', 'EdDSA', 'HS256'];

// Whoever consents grants the authorization details (RFC 9396) as they were asked for; a token has those of its request.
const details = (types) => {
  const asked = (ctx) => ctx.oidc.params.authorization_details && JSON.parse(ctx.oidc.params.authorization_details);
  return {
    enabled: true,
    types: Object.fromEntries(types.map((type) => [type, { validate: () => {} }])),
    authorizationDetailsForGrantSource: (ctx) => asked(ctx),
    authorizationDetailsForAccessToken: (ctx, token, source) => asked(ctx) ?? source?.rar,
    authorizationDetailsForIntrospection: (ctx, token) => token.rar,
  };
};

const store = new Map();
const lifetime = () => config.accessTokenSeconds; // a test may change it

const provider = new Provider(issuer, {
  adapter: adapterOver(store),
  clients: config.clients.map((client) => ({
    ...client,
    dpop_bound_access_tokens: config.dpopBound,
    ...(config.detailTypes.length && { authorization_details_types: config.detailTypes }),
  })),
  ...(mtls && { discovery: { mtls_endpoint_aliases: aliases(mtls) } }),
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_jwt', 'client_secret_post', 'private_key_jwt', 'none',
    ...(mtls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  ...(config.ownKeys && {
    jwks: { keys: keys() },
    enabledJWA: { idTokenSigningAlgValues: algorithms, userinfoSigningAlgValues: algorithms },
  }),
  clockTolerance: 0, // by default an expired token stays good for 15 s
  cookies: { keys: [randomBytes(16).toString('hex')] },
  scopes: ['openid', 'offline_access', 'api:read', 'api:write'],
  claims: { openid: ['sub'], email: ['email'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
  pkce: { required: () => true },
  rotateRefreshToken: config.rotate,
  issueRefreshToken: (ctx, client, source) => client.grantTypeAllowed('refresh_token')
    && (config.alwaysRefreshToken || source.scopes.has('offline_access')),
  expiresWithSession: () => false, // a refresh token without offline_access would end with the browser's session
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: {
    AccessToken: lifetime, ClientCredentials: lifetime, RefreshToken: 86400, Grant: 86400, Session: 86400,
    Interaction: 3600, IdToken: 3600, DeviceCode: 600, AuthorizationCode: 60,
  },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    userinfo: { enabled: true },
    jwtUserinfo: { enabled: true },
    clientCredentials: { enabled: true },
    registration: { enabled: config.registration },
    ...(mtls && { mTLS }),
    dPoP: {
      enabled: true,
      nonceSecret: config.dpopNonces ? randomBytes(32) : undefined,
      requireNonce: () => config.dpopNonces,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (ctx, resource) => {
        if (!config.resources.includes(resource)) throw new errors.InvalidTarget();
        return { scope: 'api:read api:write', audience: resource, accessTokenTTL: lifetime(), accessTokenFormat: 'opaque' };
      },
    },
    ...(config.detailTypes.length && { richAuthorizationRequests: details(config.detailTypes) }),
    ...config.features,
  },
});

provider.use(testRoutes(provider, store, config));
provider.use(pages(provider));
server.on('request', provider.callback());
mtlsServer?.on('request', provider.callback());
console.log(JSON.stringify({ issuer, address, mtls }));
