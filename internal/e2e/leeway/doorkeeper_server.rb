# Doorkeeper on loopback, for tests. It reads one JSON object (see doorkeeper.go) as the first line of its standard input,
# prints {"Address": ...} when it is ready, and ends when its standard input does.
require "digest"
require "json"
require "logger"
require "active_record/railtie"
require "action_controller/railtie"
require "puma"
require "puma/server"
require "doorkeeper"

CONFIG = JSON.parse($stdin.readline)

class Application < Rails::Application
  config.cache_classes = true
  config.eager_load = false
  config.hosts.clear
  config.logger = Logger.new(File::NULL)
  config.root = CONFIG["folder"]
  config.secret_key_base = Digest::SHA256.hexdigest(CONFIG["folder"])
end

Doorkeeper.configure do
  orm :active_record
  resource_owner_authenticator { Account.find_or_create_by!(name: params.require(:login_hint)) }
  skip_authorization { true }
  access_token_expires_in CONFIG["access_token_seconds"]
  default_scopes CONFIG["scope"]
  force_ssl_in_redirect_uri false
  grant_flows %w[authorization_code client_credentials]
  use_refresh_token
end

ENV["DATABASE_URL"] = "sqlite3:#{CONFIG['folder']}/db.sqlite3"
Application.initialize!

class Account < ActiveRecord::Base; end

class ApiController < ActionController::API
  before_action :doorkeeper_authorize!

  def show
    render json: { sub: Account.find_by(id: doorkeeper_token.resource_owner_id)&.name }
  end
end

ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table(:accounts) { |t| t.string :name, null: false }
  create_table :oauth_applications do |t|
    t.string :name, null: false
    t.string :uid, null: false, index: { unique: true }
    t.string :secret, null: false
    t.text :redirect_uri, null: false
    t.string :scopes, null: false, default: ""
    t.boolean :confidential, null: false, default: true
    t.timestamps
  end
  create_table :oauth_access_grants do |t|
    t.references :resource_owner, null: false
    t.references :application, null: false
    t.string :token, null: false, index: { unique: true }
    t.integer :expires_in, null: false
    t.text :redirect_uri, null: false
    t.datetime :created_at, null: false
    t.datetime :revoked_at
    t.string :scopes, null: false, default: ""
    t.string :code_challenge
    t.string :code_challenge_method
  end
  create_table :oauth_access_tokens do |t|
    t.references :resource_owner
    t.references :application, null: false
    t.string :token, null: false, index: { unique: true }
    t.string :refresh_token, index: { unique: true }
    t.integer :expires_in
    t.datetime :revoked_at
    t.datetime :created_at, null: false
    t.string :scopes
    t.string :previous_refresh_token, null: false, default: "" # the column that makes the leeway
  end
end
{ "native" => false, "web" => true, "daemon" => true }.each do |uid, confidential|
  Doorkeeper::Application.create!(
    name: uid, uid: uid, secret: CONFIG["secret"], redirect_uri: CONFIG["redirect_uri"], confidential: confidential,
  )
end

Rails.application.routes.draw do
  use_doorkeeper
  get "/api", to: "api#show"
end

# Ledger writes what passes the token endpoint, and tells it at /test/log. No token is in it.
class Ledger
  def initialize(app)
    @app = app
    @lines = []
    @spent = {} # the names of the refresh tokens that have been exchanged
  end

  def call(env)
    case env["PATH_INFO"]
    when "/test/log" then [200, { "Content-Type" => "application/json" }, [@lines.to_json]]
    when "/test/expire" then expire(env)
    when "/oauth/token" then token(env)
    else @app.call(env)
    end
  end

  private

  # Ends an access token before its time; its refresh token lives on.
  def expire(env)
    found = Doorkeeper::AccessToken.by_token(env["rack.input"].read)
    found&.update!(created_at: 1.day.ago)
    [found ? 204 : 404, {}, []]
  end

  def token(env)
    at = Time.now.utc.iso8601(9)
    form = Rack::Utils.parse_query(env["rack.input"].read)
    env["rack.input"].rewind
    status, headers, body = @app.call(env)
    text = +""
    body.each { |part| text << part }
    body.close if body.respond_to?(:close)
    write(at, env, form, status, text)
    [status, headers, [text]]
  end

  def write(at, env, form, status, text)
    answer = JSON.parse(text) rescue {}
    presented = name(form["refresh_token"])
    @lines << {
      time: at, grant_type: form["grant_type"], client_id: form["client_id"], user_agent: env["HTTP_USER_AGENT"],
      presented: presented, issued: name(answer["refresh_token"]), status: status, error: answer["error"].to_s,
      reuse: @spent.key?(presented),
    }
    @spent[presented] = true if presented != "" && status == 200
  end

  def name(token)
    token ? Digest::SHA256.hexdigest(token)[0, 12] : ""
  end
end

# SQLite fails those who write at the same time; the lock makes them wait. Puma reads a request before it comes here.
LOCK = Mutex.new
ledger = Ledger.new(Application)
server = Puma::Server.new(->(env) { LOCK.synchronize { ledger.call(env) } }, Puma::Events.null, min_threads: 4, max_threads: 16)
server.add_tcp_listener("127.0.0.1", 0)
server.run
puts({ Address: "127.0.0.1:#{server.connected_ports.first}" }.to_json)
$stdout.flush
$stdin.read
