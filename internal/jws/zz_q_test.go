package jws_test
import ("testing";"crypto/ecdsa";"crypto/elliptic";"crypto/rand";"crypto/sha256";"crypto";"github.com/evergrant/evergrant/internal/jws")
func BenchmarkQ(b *testing.B){
 k,_:=ecdsa.GenerateKey(elliptic.P256(),rand.Reader)
 key,_:=jws.NewKey(k,"")
 d:=sha256.Sum256([]byte("x"))
 b.Run("bare",func(b *testing.B){for b.Loop(){ k.Sign(rand.Reader,d[:],crypto.SHA256)}})
 b.Run("jws",func(b *testing.B){for b.Loop(){ key.Sign(jws.Header{Algorithm:"ES256",Type:"dpop+jwt",EmbedKey:true},map[string]any{"jti":"abcdefghijklmnopqrstuvwxyz","htm":"GET","htu":"https://api.example.com/things","iat":123456789,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"})}})
}
