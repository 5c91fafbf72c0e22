// What the tests see and do behind the protocol's back: the ledger of token requests, faults, revocations that the
// protocol does not offer, and a protected resource. No raw token leaves through here.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { readBody } from './body.mjs';
import { isPresenters } from './mtls.mjs';

export function testRoutes(provider, store, config) {
  const ledger = [];
  const revocations = [];
  const spent = new Set(); // hashes of the refresh tokens that rotation has replaced
  const details = new WeakMap(); // why a token request failed, which the wire does not say
  const api = { accepted: 0, refused: 0 };
  let faults = {};
  provider.on('grant.error', (ctx, err) => details.set(ctx, err.error_detail ?? err.message));
  provider.on('server_error', (ctx, err) => console.error(err));

  const routes = {
    'GET /api': async (ctx) => {
      const [scheme, value] = ctx.get('authorization').split(' ');
      const token = scheme.toLowerCase() === 'bearer' && await findAccess(provider, value);
      if (!token || !isPresenters(ctx, token)) {
        api.refused += 1;
        ctx.status = 401;
        ctx.set('WWW-Authenticate', value ? 'Bearer error="invalid_token"' : 'Bearer');
        ctx.body = { error: 'invalid_token' };
        return;
      }
      api.accepted += 1;
      ctx.body = { sub: token.accountId, client_id: token.clientId, aud: token.aud, scope: token.scope };
    },
    'GET /test/log': (ctx) => { ctx.body = ledger; },
    'GET /test/revocations': (ctx) => { ctx.body = revocations; },
    'GET /test/stats': (ctx) => { ctx.body = { api, live: live(store) }; },
    'POST /test/faults': async (ctx) => {
      faults = JSON.parse(await readBody(ctx.req));
      ctx.status = 204;
    },
    // From now on.
    'POST /test/access-token-life': async (ctx) => {
      config.accessTokenSeconds = JSON.parse(await readBody(ctx.req)).seconds;
      ctx.status = 204;
    },
    // Early revocation of one access token: the grant and its refresh token live on.
    'POST /test/destroy-access-token': async (ctx) => {
      const token = await findAccess(provider, JSON.parse(await readBody(ctx.req)).token);
      await token?.destroy();
      ctx.status = token ? 204 : 404;
    },
    // Of those who have registered themselves.
    'POST /test/forget-client': async (ctx) => {
      ctx.status = store.delete(`Client:${JSON.parse(await readBody(ctx.req)).client_id}`) ? 204 : 404;
    },
    'POST /test/revoke-grant': async (ctx) => {
      const grants = await grantsOf(provider, store, JSON.parse(await readBody(ctx.req)));
      for (const id of grants) {
        for (const [key, payload] of store) {
          if (payload.grantId === id || key === `Grant:${id}`) store.delete(key);
        }
      }
      ctx.status = grants.size ? 204 : 404;
    },
  };
  // A POST to the API is like a GET of it, so that request bodies can be tested: it answers with the body's length.
  routes['POST /api'] = async (ctx) => {
    const { length } = await readBody(ctx.req);
    await routes['GET /api'](ctx);
    if (ctx.status === 200) ctx.body.length = length;
  };

  return async (ctx, next) => {
    const route = routes[`${ctx.method} ${ctx.path}`];
    if (route) return route(ctx);
    if (ctx.method === 'POST' && ctx.path === '/token') return tokenRequest(ctx, next);
    if (ctx.method === 'POST' && ctx.path === '/token/revocation') return revocation(ctx, next);
    return next();
  };

  async function tokenRequest(ctx, next) {
    const at = new Date();
    const { delay_ms: delay = 0, answer_delay_ms: answerDelay = 0, unavailable = 0 } = faults;
    if (delay) {
      ctx.req.body = await readBody(ctx.req); // now: the client may be gone later
      await sleep(delay);
    }
    if (Math.random() < unavailable) {
      ctx.status = 503;
      ctx.set('Retry-After', '1');
      ledger.push({ time: at, status: 503 });
      return;
    }
    await next();
    ledger.push(entry(ctx, at));
    if (answerDelay) await sleep(answerDelay);
  }

  async function revocation(ctx, next) {
    const time = new Date();
    await next();
    revocations.push({ time, presented: hash(ctx.oidc?.params?.token), hint: ctx.oidc?.params?.token_type_hint, status: ctx.status });
  }

  function entry(ctx, at) {
    const params = ctx.oidc?.params ?? {};
    const presented = hash(params.refresh_token);
    const reuse = spent.has(presented);
    const issued = ctx.status === 200 ? hash(ctx.body.refresh_token) : undefined;
    if (presented && issued && issued !== presented) spent.add(presented);
    return {
      time: at,
      grant_type: params.grant_type,
      client_id: ctx.oidc?.client?.clientId,
      user_agent: ctx.get('user-agent'),
      presented,
      issued,
      status: ctx.status,
      error: ctx.body?.error,
      detail: details.get(ctx),
      reuse,
    };
  }
}

const hash = (token) => (token ? createHash('sha256').update(token).digest('hex').slice(0, 12) : undefined);

async function findAccess(provider, value) {
  return await provider.AccessToken.find(value) ?? provider.ClientCredentials.find(value);
}

async function grantsOf(provider, store, { refresh_token: refresh, access_token: access, account }) {
  if (account) {
    return new Set([...store].filter(([key, payload]) => key.startsWith('Grant:') && payload.accountId === account)
      .map(([key]) => key.slice('Grant:'.length)));
  }
  const token = refresh ? await provider.RefreshToken.find(refresh) : await provider.AccessToken.find(access);
  return new Set(token ? [token.grantId] : []);
}

// How many of each kind are stored and neither expired nor consumed.
function live(store) {
  const now = Date.now() / 1000;
  const counts = { Grant: 0, RefreshToken: 0, AccessToken: 0, Client: 0 };
  for (const [key, payload] of store) {
    const kind = key.split(':', 1)[0];
    if (kind in counts && (kind === 'Client' || payload.exp > now) && !payload.consumed) counts[kind] += 1;
  }
  return { grants: counts.Grant, refresh_tokens: counts.RefreshToken, access_tokens: counts.AccessToken, registrations: counts.Client };
}
