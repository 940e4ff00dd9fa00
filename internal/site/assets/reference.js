// Shows the OpenAPI document. Nothing is asked of other places: no validator, and
// no document that the address names.
const place = document.getElementById("reference");
window.ui = SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
  queryConfigEnabled: false,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // It warns of schemas that name JSON Schema 2020-12 itself as their dialect. That
  // of OpenAPI, which it wants, is the same with some words more.
  plugins: [{ components: { JsonSchemaDialect: () => null } }],
});
