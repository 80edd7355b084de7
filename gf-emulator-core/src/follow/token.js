"use strict";
// Reloads the live page with the token kept in this tab. If the server has rejected that token, forgets it.
{
  const token = sessionStorage.getItem("token");
  if (location.search === "" && token !== null) {
    location.replace(`/?token=${encodeURIComponent(token)}`);
  } else {
    sessionStorage.removeItem("token");
  }
}
