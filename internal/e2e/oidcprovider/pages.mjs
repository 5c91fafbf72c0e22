// The login and consent pages: plain forms without script, the same for a browser and for an HTTP client that fills
// them in. An authorization request with a login_hint shows neither: that account signs in and consents at once.
import { readBody } from './body.mjs';

export function pages(provider) {
  return async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
    const body = ctx.method === 'POST' ? new URLSearchParams(await readBody(ctx.req)) : null;
    if (!body && !params.login_hint) {
      ctx.type = 'html';
      ctx.body = page(prompt.name === 'login' ? loginForm : consentForm(params));
      return undefined;
    }
    const result = body?.get('deny') ? { error: 'access_denied', error_description: 'the person said no' }
      : prompt.name === 'login' ? { login: { accountId: body?.get('login') || params.login_hint } }
        : { consent: { grantId: await consent(provider, prompt.details, params, session, grantId) } };
    ctx.respond = false; // interactionFinished answers by itself
    return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: prompt.name !== 'login' });
  };
}

async function consent(provider, details, params, session, grantId) {
  const grant = grantId ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (details.missingOIDCScope) grant.addOIDCScope(details.missingOIDCScope.join(' '));
  if (details.missingOIDCClaims) grant.addOIDCClaims(details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  for (const detail of details.rar ?? []) grant.addRar(detail);
  return grant.save();
}

const loginForm = `<h1>Sign in</h1>
<form method="post">
<label>Account <input name="login" autocomplete="off" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="off"></label>
<button type="submit">Sign in</button>
</form>`;

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const consentForm = (params) => `<h1>Allow ${escape(params.client_id)}?</h1>
<p>It asks for: ${escape(params.scope ?? '')}</p>
<form method="post">
<button type="submit" name="allow" value="1">Allow</button>
<button type="submit" name="deny" value="1">Deny</button>
</form>`;

const page = (main) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Test provider</title>
<style>body { font: 1rem/1.5 sans-serif; max-width: 24rem; margin: 4rem auto } label, button { display: block; margin: 1rem 0 }</style>
<main>
${main}
</main></html>`;
