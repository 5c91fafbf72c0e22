module github.com/evergrant/evergrant/internal/e2e

go 1.26.0

replace github.com/evergrant/evergrant => ../..

require (
	github.com/stretchr/testify v1.12.1
	golang.org/x/oauth2 v0.37.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
