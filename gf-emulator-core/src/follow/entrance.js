"use strict";
// A page that was open here has kept its token. One that was refused is forgotten.
{
  const token = sessionStorage.getItem("token");
  if (location.search === "" && token !== null) {
    location.replace(`/?token=${encodeURIComponent(token)}`);
  } else {
    sessionStorage.removeItem("token");
  }
}
